# Accel-SwAV on two views of 224 px (paper, Tables 1 and 9), ResNet-50, 400 epochs,
# 8 GPUs x 32 images.
_base_ = '../baselines/swav_r50_8xb32.py'
baseline = 'configs/baselines/swav_r50_8xb32.py'

model = dict(
    type='AccelSwAV',
    channels_last=True,
    neck=dict(
        type='IntermediateNeck',
        projector='SwAVNeck',
        in_channels=(256, 512, 1024, 2048),
    ),
    head=dict(type='AccelSwAVHead', loss=dict(type='AccelSwAVLoss')),
    crop_layer=dict(
        type='HardPairCropLayer',
        after_stages=(1, 2),
        num_candidates=2,
        crop_ratio=0.75,
    ),
)

# the baseline's, without a wait for the device a parameter
optim_wrapper = dict(optimizer=dict(type='FusedLARS'))

# the baseline's queue hook stays
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='PartialBackpropHook', exit_probs=(0.25, 0.25, 0.25, 0.25)),
]

# several processes exchange the gradients that there are, none behind the exit
model_wrapper_cfg = dict(type='mmselfsup.StagewiseDataParallel')
