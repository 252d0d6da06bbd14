# Accel-SwAV on two views of 160 px and four of 96 px (paper, Table 9),
# ResNet-50, 400 epochs, 8 GPUs x 32 images.
_base_ = '../_base_/swav_r50_8xb32-mcrop-2-4-160-96.py'
baseline = 'configs/mmpretrain/_base_/swav_r50_8xb32-mcrop-2-4-160-96.py'

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

# the baseline's optimizer, without one device sync per parameter
optim_wrapper = dict(optimizer=dict(type='FusedLARS'))

# as in ../_base_/accel.py; the baseline's queue hook stays
custom_hooks = [*_base_.custom_hooks, dict(type='PartialBackpropHook')]
custom_imports = dict(imports=['mmaccel'], allow_failed_imports=False)
model_wrapper_cfg = dict(type='StagewiseDataParallel')
env_cfg = dict(cudnn_benchmark=True)
