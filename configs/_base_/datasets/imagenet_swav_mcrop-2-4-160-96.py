# ImageNet for SwAV: two views of 160 px and four of 96 px.
_base_ = 'mmselfsup::selfsup/_base_/datasets/imagenet_swav_mcrop-2-6.py'

num_crops = [2, 4]
views = [
    [
        dict(type='RandomResizedCrop', size=size, scale=scale, backend='pillow'),
        *_base_.view_pipeline1[1:],
    ]
    for size, scale in ((160, (0.14, 1.0)), (96, (0.05, 0.14)))
]
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='MultiView', num_views=num_crops, transforms=views),
    dict(type='PackSelfSupInputs', meta_keys=['img_path']),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
