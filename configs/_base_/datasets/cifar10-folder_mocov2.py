# CIFAR-10 as folders of images of 32 px, `train/<class>/*.jpg` and
# `test/<class>/*.jpg` (or png). Any labelled set laid out so will do; pretraining reads
# `train/` without labels, the kNN monitor reads both with them. The authors' CIFAR-10
# demo leaves out the blur, which would leave little of 32 px.
_base_ = './small.py'

data_root = 'data/cifar10/'

view_pipeline = [
    dict(type='RandomResizedCrop', size=32, scale=(0.2, 1.0), backend='pillow'),
    dict(
        type='RandomApply',
        transforms=[
            dict(
                type='ColorJitter',
                brightness=0.4,
                contrast=0.4,
                saturation=0.4,
                hue=0.1,
            )
        ],
        prob=0.8,
    ),
    dict(
        type='RandomGrayscale',
        prob=0.2,
        keep_channels=True,
        channel_weights=(0.114, 0.587, 0.2989),
    ),
    dict(type='RandomFlip', prob=0.5),
]

train_dataloader = dict(
    dataset=dict(
        type='UnlabelledFolder',
        data_root=data_root + 'train',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='MultiView', num_views=2, transforms=[view_pipeline]),
            dict(type='PackSelfSupInputs', meta_keys=['img_path']),
        ],
    ),
)

labelled_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='PackSelfSupInputs', algorithm_keys=['gt_label']),
]
labelled_set = dict(type='mmcls.CustomDataset', pipeline=labelled_pipeline)
knn_monitor = dict(
    train_dataloader=dict(
        dataset=dict(labelled_set, data_prefix=data_root + 'train'), num_workers=2
    ),
    test_dataloader=dict(
        dataset=dict(labelled_set, data_prefix=data_root + 'test'), num_workers=2
    ),
)
