# Accel-SwAV on CIFAR-10: the baseline with exits and hard-pair windows, as the paper
# has them.
_base_ = ['./swav_r18_cifar10.py', '../_base_/accel.py']
baseline = 'configs/small/swav_r18_cifar10.py'

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
