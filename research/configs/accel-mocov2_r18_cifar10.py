# Accel-MoCo v2 as the paper has it.
_base_ = './mocov2_r18_cifar10.py'
baseline = 'research/configs/mocov2_r18_cifar10.py'

model = dict(
    type='AccelMoCo',
    channels_last=True,
    neck=dict(type='IntermediateNeck', in_channels=(64, 128, 256, 512)),
    head=dict(type='AccelContrastiveHead'),
    crop_layer=dict(type='HardPairCropLayer'),
)
custom_hooks = [dict(type='PartialBackpropHook', measure_interval=0)]
model_wrapper_cfg = dict(type='mmselfsup.StagewiseDataParallel')
