# Accel-MoCo v1 (paper, Table 1: 200 epochs), ResNet-50, 8 GPUs x 32 images.
_base_ = [
    'mmselfsup::selfsup/_base_/models/mocov1.py',
    'mmselfsup::selfsup/_base_/datasets/imagenet_mocov1.py',
    'mmselfsup::selfsup/_base_/schedules/sgd_steplr-200e_in1k.py',
    '../_base_/default_runtime.py',
    '../_base_/accel.py',
]
baseline = 'mmselfsup::selfsup/mocov1/mocov1_resnet50_8xb32-steplr-200e_in1k.py'

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

auto_scale_lr = dict(base_batch_size=256)
