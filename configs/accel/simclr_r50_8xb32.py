# Accel-SimCLR (paper, Table 1: 200 epochs), ResNet-50, 8 GPUs x 32 images.
_base_ = [
    'mmselfsup::selfsup/_base_/models/simclr.py',
    'mmselfsup::selfsup/_base_/datasets/imagenet_simclr.py',
    'mmselfsup::selfsup/_base_/schedules/lars_coslr-200e_in1k.py',
    '../_base_/default_runtime.py',
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
    crop_layer=dict(
        type='HardPairCropLayer',
        after_stages=(1, 2),
        num_candidates=2,
        crop_ratio=0.75,
    ),
)

# the baseline's optimizer, without a wait for the device a parameter
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

custom_hooks = [
    dict(type='PartialBackpropHook', exit_probs=(0.25, 0.25, 0.25, 0.25)),
]

# several processes exchange the gradients that there are, none behind the exit
model_wrapper_cfg = dict(type='mmselfsup.StagewiseDataParallel')

auto_scale_lr = dict(base_batch_size=256)
