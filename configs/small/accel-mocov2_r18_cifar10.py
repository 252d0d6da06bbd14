# Accel-MoCo v2 on CIFAR-10: the baseline with exits and hard-pair windows, as the
# paper has them.
_base_ = './mocov2_r18_cifar10.py'
baseline = 'configs/small/mocov2_r18_cifar10.py'

model = dict(
    type='AccelMoCo',
    channels_last=True,
    neck=dict(type='IntermediateNeck', in_channels=(64, 128, 256, 512)),
    head=dict(type='AccelContrastiveHead'),
    crop_layer=dict(
        type='HardPairCropLayer',
        after_stages=(1, 2),
        num_candidates=2,
        crop_ratio=0.75,
    ),
)

custom_hooks = [dict(type='PartialBackpropHook')]

# several processes exchange the gradients that there are, none behind the exit
model_wrapper_cfg = dict(type='mmselfsup.StagewiseDataParallel')
