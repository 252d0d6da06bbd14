# Accel-SwAV as the paper has it.
_base_ = './swav_r18_cifar10.py'
baseline = 'research/configs/swav_r18_cifar10.py'

model = dict(
    type='AccelSwAV',
    channels_last=True,
    neck=dict(
        type='IntermediateNeck',
        projector='SwAVNeck',
        in_channels=(64, 128, 256, 512),
    ),
    head=dict(type='AccelSwAVHead', loss=dict(type='AccelSwAVLoss')),
    crop_layer=dict(type='HardPairCropLayer'),
)
custom_hooks = [dict(type='PartialBackpropHook', measure_interval=0)]
model_wrapper_cfg = dict(type='mmselfsup.StagewiseDataParallel')
