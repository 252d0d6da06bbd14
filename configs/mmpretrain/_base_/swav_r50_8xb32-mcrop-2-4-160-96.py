# SwAV on two views of 160 px and four of 96 px (paper, Table 9).
_base_ = './swav_r50_400e.py'

num_crops = [2, 4]
views = [
    [
        dict(
            type='RandomResizedCrop',
            scale=size,
            crop_ratio_range=share,
            backend='pillow',
        ),
        *_base_.view_pipeline1[1:],
    ]
    for size, share in ((160, (0.14, 1.0)), (96, (0.05, 0.14)))
]
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='MultiView', num_views=num_crops, transforms=views),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
model = dict(head=dict(loss=dict(num_crops=num_crops)))
