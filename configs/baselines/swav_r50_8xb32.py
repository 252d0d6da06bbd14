# Upstream SwAV on two views of 224 px, 400 epochs (paper, Tables 1 and 9), which
# upstream has no config for: its own, less the small views.
_base_ = [
    'mmselfsup::selfsup/_base_/models/swav.py',
    'mmselfsup::selfsup/_base_/datasets/imagenet_swav_mcrop-2-6.py',
    'mmselfsup::selfsup/_base_/schedules/lars_coslr-200e_in1k.py',
    '../_base_/default_runtime.py',
]

num_crops = [2]
model = dict(head=dict(loss=dict(num_crops=num_crops)))

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='MultiView', num_views=num_crops, transforms=[_base_.view_pipeline1]),
    dict(type='PackSelfSupInputs', meta_keys=['img_path']),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

custom_hooks = [
    dict(
        type='SwAVHook',
        priority='VERY_HIGH',
        batch_size=_base_.train_dataloader.batch_size,
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
