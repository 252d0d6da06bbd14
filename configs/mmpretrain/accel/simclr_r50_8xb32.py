# Accel-SimCLR (paper, Table 1: 200 epochs), ResNet-50, 8 GPUs x 32 images.
_base_ = [
    'mmpretrain::simclr/simclr_resnet50_8xb32-coslr-200e_in1k.py',
    '../_base_/accel.py',
]
baseline = 'mmpretrain::simclr/simclr_resnet50_8xb32-coslr-200e_in1k.py'

model = dict(
    type='AccelSimCLR',
    channels_last=True,
    neck=dict(
        type='IntermediateNeck',
        projector='NonLinearNeck',
        in_channels=(256, 512, 1024, 2048),
    ),
    head=dict(type='AccelContrastiveHead'),
    crop_layer=dict(type='HardPairCropLayer'),
)

# the baseline's optimizer, without one device sync per parameter
optim_wrapper = dict(optimizer=dict(type='FusedLARS'))

env_cfg = dict(cudnn_benchmark=True)
