# Accel-SimCLR as the paper has it.
_base_ = './simclr_r18_cifar10.py'
baseline = 'research/configs/simclr_r18_cifar10.py'

model = dict(
    type='AccelSimCLR',
    channels_last=True,
    neck=dict(
        type='IntermediateNeck',
        projector='NonLinearNeck',
        in_channels=(64, 128, 256, 512),
    ),
    head=dict(type='AccelContrastiveHead'),
    crop_layer=dict(type='HardPairCropLayer'),
)
custom_hooks = [dict(type='PartialBackpropHook', measure_interval=0)]
model_wrapper_cfg = dict(type='mmselfsup.StagewiseDataParallel')
