# MoCo v1 and v2, linear evaluation on frozen features: MMSelfSup's setting for both,
# and the config of its published MoCo v2 figure. SGD for 100 epochs, learning rate 30,
# a tenth of it after 60 and again after 80.
_base_ = (
    'mmselfsup::benchmarks/classification/imagenet/'
    'resnet50_linear-8xb32-steplr-100e_in1k.py'
)

custom_imports = dict(imports=['mmaccel'], allow_failed_imports=False)

# parts inherited from MMSelfSup would be looked for there, and are MMClassification's
scope = 'mmcls'
model = dict(
    _scope_=scope,
    backbone=dict(
        init_cfg=dict(type='Pretrained', checkpoint=None, prefix='backbone.'),
    ),
)
train_dataloader = dict(dataset=dict(_scope_=scope))
val_dataloader = dict(dataset=dict(_scope_=scope))
test_dataloader = val_dataloader
val_evaluator = dict(_scope_=scope)
test_evaluator = val_evaluator

custom_hooks = [
    dict(
        type='ResultHook',
        task='linear',
        dataset='ImageNet',
        protocol='{train_cfg.max_epochs} epochs, SGD, '
        'steps at {param_scheduler[0].milestones}',
        metrics={'accuracy/top1': 'top1', 'accuracy/top5': 'top5'},
    )
]

auto_scale_lr = dict(enable=False, base_batch_size=256)  # 8 GPUs x 32 images
