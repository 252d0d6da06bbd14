# ImageNet for SwAV: two views of 224 px, upstream's pipeline less the small views.
_base_ = 'mmselfsup::selfsup/_base_/datasets/imagenet_swav_mcrop-2-6.py'

num_crops = [2]
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='MultiView', num_views=num_crops, transforms=[_base_.view_pipeline1]),
    dict(type='PackSelfSupInputs', meta_keys=['img_path']),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
