# Accel-MoCo v1 (paper, Table 1: 200 epochs), ResNet-50, 8 GPUs x 32 images.
_base_ = ['../_base_/mocov1_r50_8xb32.py', '../_base_/accel.py']
baseline = 'configs/mmpretrain/_base_/mocov1_r50_8xb32.py'

model = dict(
    type='AccelMoCo',
    channels_last=True,
    neck=dict(
        type='IntermediateNeck',
        projector='LinearNeck',
        in_channels=(256, 512, 1024, 2048),
    ),
    head=dict(type='AccelContrastiveHead'),
    crop_layer=dict(type='HardPairCropLayer'),
)

env_cfg = dict(cudnn_benchmark=True)
