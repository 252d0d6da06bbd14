# Accel-MoCo v1 on CIFAR-10: the baseline with exits and hard-pair windows, as the paper
# has them.
_base_ = ['./mocov1_r18_cifar10.py', '../../_base_/accel.py']
baseline = 'configs/mmpretrain/small/mocov1_r18_cifar10.py'

model = dict(
    type='AccelMoCo',
    channels_last=True,
    neck=dict(
        type='IntermediateNeck',
        projector='LinearNeck',
        in_channels=(64, 128, 256, 512),
    ),
    head=dict(type='AccelContrastiveHead'),
    crop_layer=dict(type='HardPairCropLayer'),
)
