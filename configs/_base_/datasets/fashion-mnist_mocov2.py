# Fashion-MNIST: 60,000 grey images of 28 px in idx files, 10 classes. A missing set is
# downloaded; `tools/quickstart.sh` also unpacks the Debian package. Blur would leave
# little of 28 px.
_base_ = './small.py'

data_root = 'data/fashion-mnist/'

view_pipeline = [
    dict(type='RandomResizedCrop', size=28, scale=(0.2, 1.0), backend='pillow'),
    dict(
        type='RandomApply',
        # brightness with OpenCV is all that mmcv can jitter on one channel
        transforms=[dict(type='ColorJitter', brightness=0.4, backend='cv2')],
        prob=0.8,
    ),
    dict(type='RandomFlip', prob=0.5),
]

train_dataloader = dict(
    dataset=dict(
        type='mmcls.FashionMNIST',
        data_prefix=data_root,
        test_mode=False,
        pipeline=[
            dict(type='MultiView', num_views=2, transforms=[view_pipeline]),
            dict(type='PackSelfSupInputs'),
        ],
    ),
)

labelled_pipeline = [dict(type='PackSelfSupInputs', algorithm_keys=['gt_label'])]
labelled_set = dict(
    type='mmcls.FashionMNIST', data_prefix=data_root, pipeline=labelled_pipeline
)
knn_monitor = dict(
    train_dataloader=dict(dataset=dict(labelled_set, test_mode=False)),
    test_dataloader=dict(dataset=dict(labelled_set, test_mode=True)),
)
