# Accel-MoCo v2 as tools/quickstart.sh trains it.
_base_ = ['./mocov2_r18_fashion-mnist_quickstart.py', '../_base_/accel.py']
baseline = 'configs/small/mocov2_r18_fashion-mnist_quickstart.py'

model = dict(
    type='AccelMoCo',
    channels_last=True,
    neck=dict(type='IntermediateNeck', in_channels=(16, 32, 64, 128)),
    head=dict(type='AccelContrastiveHead'),
    crop_layer=dict(type='HardPairCropLayer'),
)
