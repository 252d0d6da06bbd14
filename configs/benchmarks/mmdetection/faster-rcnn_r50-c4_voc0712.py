# Faster R-CNN R50-C4 on VOC 07+12 trainval -> 07 test, 24k iterations of 16 images:
# MMSelfSup's protocol, which is MoCo's with Detectron2. MMSelfSup's own config is not
# the base here: inherited as `mmselfsup::`, it looks for MMDetection's parts in
# MMSelfSup's registries, and its data_preprocessor stands outside of the model, where
# nothing reads it, so that images keep the BGR means of the caffe backbone.
_base_ = 'mmdet::pascal_voc/faster-rcnn_r50-caffe-c4_ms-18k_voc0712.py'

custom_imports = dict(
    imports=[
        'mmaccel',
        'mmaccel.evaluation.voc_metric',
        'mmaccel.evaluation.res_layer_extra_norm',
    ],
    allow_failed_imports=False,
)

norm_cfg = dict(type='SyncBN', requires_grad=True)
# `tools/train.py --pretrained` names the checkpoint: stages 1 to 3 go into the
# backbone, stage 4 into the head
init_cfg = dict(type='Pretrained', checkpoint=None, prefix='backbone.')
model = dict(
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True
    ),
    backbone=dict(
        frozen_stages=-1,
        norm_cfg=norm_cfg,
        norm_eval=False,
        style='pytorch',
        init_cfg=dict(_delete_=True, **init_cfg),
    ),
    roi_head=dict(
        shared_head=dict(
            type='ResLayerExtraNorm',
            norm_cfg=norm_cfg,
            norm_eval=False,
            style='pytorch',
            init_cfg=dict(_delete_=True, **init_cfg),
        ),
    ),
)

# VOC2007 and VOC2012 differ in `dataset_type`, which must not stop them being joined
train_dataloader = dict(dataset=dict(ignore_keys=['dataset_type']))

max_iter = 24000
train_cfg = dict(max_iters=max_iter, val_interval=2000)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=100),
    dict(
        type='MultiStepLR',
        begin=0,
        end=max_iter,
        by_epoch=False,
        milestones=[18000, 22000],
        gamma=0.1,
    ),
]

val_evaluator = dict(_delete_=True, type='VOCAPMetric')
test_evaluator = val_evaluator

default_hooks = dict(checkpoint=dict(interval=2000, max_keep_ckpts=2))
custom_hooks = [
    dict(
        type='ResultHook',
        task='detection',
        dataset='VOC07+12',
        protocol='11-point; {train_cfg.max_iters} iterations of {total_batch} images',
        metrics={f'voc07_11point/{name}': name for name in ('AP', 'AP50', 'AP75')},
        frozen=False,
    )
]

auto_scale_lr = dict(base_batch_size=16)
