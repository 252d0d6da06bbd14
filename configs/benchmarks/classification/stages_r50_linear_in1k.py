# Linear classifiers after the stem and after every stage in one training, Table 8:
# OpenSelfSup's protocol, whose maps are pooled to about 9000 numbers each. Upstream's
# config has no classifier for the stem, and an evaluator that was never released.
_base_ = (
    'mmselfsup::benchmarks/classification/imagenet/'
    'resnet50_mhead_linear-8xb32-steplr-90e_in1k.py'
)

custom_imports = dict(imports=['mmaccel'], allow_failed_imports=False)

# parts inherited from MMSelfSup would be looked for there, and are MMClassification's
scope = 'mmcls'
model = dict(
    _scope_=scope,
    backbone=dict(
        type='mmselfsup.ResNet',  # counts the stem as output 0
        out_indices=[0, 1, 2, 3, 4],
        init_cfg=dict(type='Pretrained', checkpoint=None, prefix='backbone.'),
    ),
    head=dict(in_indices=[0, 1, 2, 3, 4]),
)
train_dataloader = dict(dataset=dict(_scope_=scope))
val_dataloader = dict(dataset=dict(_scope_=scope))
test_dataloader = dict(dataset=dict(_scope_=scope, pipeline=_base_.test_pipeline))
names = ('Feat1', 'Feat2', 'Feat3', 'Feat4', 'Final')
val_evaluator = [
    dict(type='mmselfsup.HeadAccuracy', head=head, prefix=name, topk=(1, 5))
    for head, name in enumerate(names)
]
test_evaluator = val_evaluator

custom_hooks = [
    dict(
        type='ResultHook',
        task='stages',
        dataset='ImageNet',
        protocol='{train_cfg.max_epochs} epochs, SGD, maps pooled to ~9000 numbers',
        metrics={f'{name}/top1': name for name in names},
    )
]

auto_scale_lr = dict(enable=False, base_batch_size=256)  # 8 GPUs x 32 images
