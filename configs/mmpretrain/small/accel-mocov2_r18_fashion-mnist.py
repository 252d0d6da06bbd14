# Accel-MoCo v2 on Fashion-MNIST: the baseline with exits and hard-pair windows, as the
# paper has them.
_base_ = ['./mocov2_r18_fashion-mnist.py', '../../_base_/accel.py']
baseline = 'configs/mmpretrain/small/mocov2_r18_fashion-mnist.py'

model = dict(
    type='AccelMoCo',
    channels_last=True,
    neck=dict(type='IntermediateNeck', in_channels=(64, 128, 256, 512)),
    head=dict(type='AccelContrastiveHead'),
    crop_layer=dict(type='HardPairCropLayer'),
)
