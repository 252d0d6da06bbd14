# MMPretrain's MoCo v2 on Fashion-MNIST, ResNet-18, one GPU: the baseline of
# accel-mocov2_r18_fashion-mnist.py. Blur would leave little of 28 px.
_base_ = '../_base_/mocov2_r18_cifar-stem.py'

data_root = 'data/fashion-mnist/'

model = dict(
    # mean and deviation of the training images, on one channel
    data_preprocessor=dict(
        type='SelfSupDataPreprocessor', mean=(72.94,), std=(90.02,), to_rgb=False
    ),
    backbone=dict(in_channels=1),
)

view_pipeline = [
    dict(
        type='RandomResizedCrop',
        scale=28,
        crop_ratio_range=(0.2, 1.0),
        backend='pillow',
    ),
    dict(
        type='RandomApply',
        # brightness with OpenCV is all that mmcv can jitter on one channel
        transforms=[dict(type='ColorJitter', brightness=0.4, backend='cv2')],
        prob=0.8,
    ),
    dict(type='RandomFlip', prob=0.5),
]
train_pipeline = [
    dict(type='MultiView', num_views=2, transforms=[view_pipeline]),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    batch_size=512,
    dataset=dict(
        _delete_=True,
        type='FashionMNIST',
        data_root=data_root,
        split='train',
        pipeline=train_pipeline,
    ),
)

labelled_pipeline = [dict(type='PackInputs')]
default_hooks = dict(
    knn=dict(
        type='KNNHook',
        interval=5,
        train_dataloader=dict(
            dataset=dict(
                type='FashionMNIST',
                data_root=data_root,
                split='train',
                pipeline=labelled_pipeline,
            )
        ),
        test_dataloader=dict(
            dataset=dict(
                type='FashionMNIST',
                data_root=data_root,
                split='test',
                pipeline=labelled_pipeline,
            )
        ),
    )
)
