# SimCLR, linear evaluation on frozen features: the config of MMSelfSup's published
# figures. LARS for 90 epochs, batch 4096.
_base_ = (
    'mmselfsup::benchmarks/classification/imagenet/'
    'resnet50_linear-8xb512-coslr-90e_in1k.py'
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
        protocol='{train_cfg.max_epochs} epochs, LARS, cosine',
        metrics={'accuracy/top1': 'top1', 'accuracy/top5': 'top5'},
    )
]

auto_scale_lr = dict(enable=False, base_batch_size=4096)  # 8 GPUs x 512 images
