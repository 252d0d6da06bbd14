# Upstream SwAV, ResNet-50, 400 epochs, 8 GPUs x 32 images: all but the views.
_base_ = [
    'mmselfsup::selfsup/_base_/models/swav.py',
    'mmselfsup::selfsup/_base_/schedules/lars_coslr-200e_in1k.py',
    './default_runtime.py',
]

custom_hooks = [
    dict(
        type='SwAVHook',
        priority='VERY_HIGH',
        batch_size=32,  # images per GPU
        epoch_queue_starts=15,
        crops_for_assign=[0, 1],
        feat_dim=128,
        queue_length=3840,
        frozen_layers_cfg=dict(prototypes=5005),  # iterations: one epoch
    ),
]

optimizer = dict(type='LARS', lr=0.6)
optim_wrapper = dict(optimizer=optimizer)

max_epochs = 400
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    dict(
        type='CosineAnnealingLR',
        T_max=max_epochs,
        eta_min=6e-4,
        by_epoch=True,
        begin=0,
        end=max_epochs,
        convert_to_iter_based=True,
    )
]

# frozen prototypes get no gradient
find_unused_parameters = True

auto_scale_lr = dict(base_batch_size=256)
