# MMPretrain's MoCo v2 on CIFAR-10 as folders of images, ResNet-18, one GPU: the
# baseline of accel-mocov2_r18_cifar10.py. The authors' CIFAR-10 demo leaves out the
# blur, which would leave little of 32 px.
_base_ = '../_base_/mocov2_r18_cifar-stem.py'

data_root = 'data/cifar10/'

model = dict(
    data_preprocessor=dict(
        type='SelfSupDataPreprocessor',
        mean=(125.31, 122.95, 113.87),
        std=(62.99, 62.09, 66.70),
        to_rgb=True,
    )
)

view_pipeline = [
    dict(
        type='RandomResizedCrop',
        scale=32,
        crop_ratio_range=(0.2, 1.0),
        backend='pillow',
    ),
    *(t for t in _base_.view_pipeline[1:] if t['type'] != 'GaussianBlur'),
]
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='MultiView', num_views=2, transforms=[view_pipeline]),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    batch_size=512,
    dataset=dict(
        _delete_=True,
        type='UnlabelledFolder',
        data_root=data_root + 'train',
        pipeline=train_pipeline,
    ),
)

labelled_pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
default_hooks = dict(
    knn=dict(
        type='KNNHook',
        interval=5,
        train_dataloader=dict(
            dataset=dict(
                type='CustomDataset',
                data_prefix=data_root + 'train',
                pipeline=labelled_pipeline,
            ),
            num_workers=2,
        ),
        test_dataloader=dict(
            dataset=dict(
                type='CustomDataset',
                data_prefix=data_root + 'test',
                pipeline=labelled_pipeline,
            ),
            num_workers=2,
        ),
    )
)
