# Table 10: upstream MoCo v2 on views of 196 px; 224 px is upstream's own config.
_base_ = [
    'mmselfsup::selfsup/_base_/models/mocov2.py',
    'mmselfsup::selfsup/_base_/datasets/imagenet_mocov2.py',
    'mmselfsup::selfsup/_base_/schedules/sgd_coslr-200e_in1k.py',
    '../_base_/default_runtime.py',
]

views = [
    dict(type='RandomResizedCrop', size=196, scale=(0.2, 1.0), backend='pillow'),
    *_base_.view_pipeline[1:],
]
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='MultiView', num_views=2, transforms=[views]),
    dict(type='PackSelfSupInputs', meta_keys=['img_path']),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

auto_scale_lr = dict(base_batch_size=256)
