# Linear evaluation of a ResNet-50 on ImageNet, on frozen features: MMSelfSup's, which
# gives each method its own schedule.
_base_ = [
    'mmselfsup::benchmarks/classification/_base_/models/resnet50.py',
    'mmselfsup::benchmarks/classification/_base_/datasets/imagenet.py',
    'mmcls::_base_/default_runtime.py',
]

custom_imports = dict(imports=['mmaccel'], allow_failed_imports=False)

# parts inherited from MMSelfSup would be looked for there, and are MMClassification's
scope = 'mmcls'
model = dict(
    _scope_=scope,
    backbone=dict(
        frozen_stages=4,
        init_cfg=dict(type='Pretrained', checkpoint=None, prefix='backbone.'),
    ),
)
train_dataloader = dict(dataset=dict(_scope_=scope))
val_dataloader = dict(dataset=dict(_scope_=scope))
test_dataloader = val_dataloader
val_evaluator = dict(_scope_=scope)
test_evaluator = val_evaluator

default_hooks = dict(checkpoint=dict(interval=10, max_keep_ckpts=3))
custom_hooks = [
    dict(
        type='ResultHook',
        task='linear',
        dataset='ImageNet',
        metrics={'accuracy/top1': 'top1', 'accuracy/top5': 'top5'},
    )
]

auto_scale_lr = dict(enable=False, base_batch_size=256)  # 8 GPUs x 32 images
