# SwAV on two views of 224 px (paper, Tables 1 and 9), MMPretrain's pipeline
# less the small views.
_base_ = './swav_r50_400e.py'

num_crops = [2]
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='MultiView', num_views=num_crops, transforms=[_base_.view_pipeline1]),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
model = dict(head=dict(loss=dict(num_crops=num_crops)))
