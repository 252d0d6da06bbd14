# MMPretrain's SwAV on CIFAR-10, ResNet-18, one GPU: two views, 512 prototypes and no
# queue, since a step has as many images as prototypes. The baseline of
# accel-swav_r18_cifar10.py.
_base_ = './mocov2_r18_cifar10.py'

model = dict(
    _delete_=True,
    type='SwAV',
    data_preprocessor=_base_.model.data_preprocessor,
    backbone=_base_.model.backbone,
    neck=dict(
        type='SwAVNeck',
        in_channels=512,
        hid_channels=512,
        out_channels=128,
        with_avg_pool=True,
    ),
    head=dict(
        type='SwAVHead',
        loss=dict(
            type='SwAVLoss',
            feat_dim=128,
            epsilon=0.05,
            temperature=0.1,
            num_crops=[2],
            num_prototypes=512,
        ),
    ),
)
