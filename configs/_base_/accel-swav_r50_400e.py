# Accel-SwAV, ResNet-50, 400 epochs, 8 GPUs x 32 images: all but the views.
_base_ = './swav_r50_400e.py'

model = dict(
    type='AccelSwAV',
    channels_last=True,
    neck=dict(
        type='IntermediateNeck',
        projector='SwAVNeck',
        in_channels=(256, 512, 1024, 2048),
    ),
    head=dict(type='AccelSwAVHead', loss=dict(type='AccelSwAVLoss')),
    crop_layer=dict(type='HardPairCropLayer'),
)

# the baseline's, without one device sync per parameter
optim_wrapper = dict(optimizer=dict(type='FusedLARS'))

# as in ./accel.py; the baseline's queue hook stays
custom_hooks = [*_base_.custom_hooks, dict(type='PartialBackpropHook')]
model_wrapper_cfg = dict(type='StagewiseDataParallel')
