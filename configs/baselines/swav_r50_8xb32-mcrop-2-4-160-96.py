# Upstream SwAV on two views of 160 px and four of 96 px, 400 epochs (paper, Table 9).
_base_ = './swav_r50_8xb32.py'

num_crops = [2, 4]
model = dict(head=dict(loss=dict(num_crops=num_crops)))

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
