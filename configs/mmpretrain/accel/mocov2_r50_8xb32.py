# Accel-MoCo v2 (paper, Table 1: 200 epochs), ResNet-50, 8 GPUs x 32 images.
_base_ = [
    'mmpretrain::mocov2/mocov2_resnet50_8xb32-coslr-200e_in1k.py',
    '../_base_/accel.py',
]
baseline = 'mmpretrain::mocov2/mocov2_resnet50_8xb32-coslr-200e_in1k.py'

model = dict(
    type='AccelMoCo',
    channels_last=True,
    neck=dict(type='IntermediateNeck', in_channels=(256, 512, 1024, 2048)),
    head=dict(type='AccelContrastiveHead'),
    crop_layer=dict(type='HardPairCropLayer'),
)

# each convolution sees one shape per size of views, whatever the exit
env_cfg = dict(cudnn_benchmark=True)
