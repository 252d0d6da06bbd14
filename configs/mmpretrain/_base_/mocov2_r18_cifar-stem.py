# MoCo v2 for images of about 32 px, as ../../_base_/models/mocov2_r18_cifar-stem.py.
# `momentum` is the share of the new weights here.
_base_ = 'mmpretrain::mocov2/mocov2_resnet50_8xb32-coslr-200e_in1k.py'

model = dict(
    queue_len=4096,
    momentum=0.01,
    backbone=dict(
        _delete_=True,
        type='ResNet_CIFAR',
        depth=18,
        in_channels=3,
        out_indices=(3,),
        norm_cfg=dict(type='BN'),
    ),
    neck=dict(in_channels=512, hid_channels=512),
    head=dict(temperature=0.1),
)

optim_wrapper = dict(optimizer=dict(lr=0.06, weight_decay=5e-4))
auto_scale_lr = dict(base_batch_size=512)

custom_imports = dict(imports=['mmaccel'], allow_failed_imports=False)
env_cfg = dict(cudnn_benchmark=True)
default_hooks = dict(
    throughput=dict(type='ThroughputHook'),
    logger=dict(interval=50),
    checkpoint=dict(interval=10, max_keep_ckpts=3),
)
log_processor = dict(type='AccelLogProcessor', window_size=50)
