# Accel-SimCLR (paper, Table 1: 200 epochs), ResNet-50, 8 GPUs x 32 images.
_base_ = [
    'mmselfsup::selfsup/_base_/models/simclr.py',
    'mmselfsup::selfsup/_base_/datasets/imagenet_simclr.py',
    'mmselfsup::selfsup/_base_/schedules/lars_coslr-200e_in1k.py',
    '../_base_/default_runtime.py',
    '../_base_/accel.py',
]
baseline = 'mmselfsup::selfsup/simclr/simclr_resnet50_8xb32-coslr-200e_in1k.py'

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
optimizer = dict(type='FusedLARS', lr=0.3, momentum=0.9, weight_decay=1e-6)
optim_wrapper = dict(
    optimizer=optimizer,
    paramwise_cfg=dict(
        custom_keys={
            'bn': dict(decay_mult=0, lars_exclude=True),
            'bias': dict(decay_mult=0, lars_exclude=True),
            'downsample.1': dict(decay_mult=0, lars_exclude=True),
        }
    ),
)

auto_scale_lr = dict(base_batch_size=256)
