# Accel-MoCo v1 as the paper has it.
_base_ = './mocov1_r18_cifar10.py'
baseline = 'configs/study/mocov1_r18_cifar10.py'

model = dict(
    type='AccelMoCo',
    channels_last=True,
    neck=dict(
        type='IntermediateNeck',
        projector='LinearNeck',
        in_channels=(64, 128, 256, 512),
    ),
    head=dict(type='AccelContrastiveHead'),
    crop_layer=dict(
        type='HardPairCropLayer',
        after_stages=(1, 2),
        num_candidates=2,
        crop_ratio=0.75,
    ),
)
custom_hooks = [dict(type='PartialBackpropHook', measure_interval=0)]
model_wrapper_cfg = dict(type='mmselfsup.StagewiseDataParallel')
