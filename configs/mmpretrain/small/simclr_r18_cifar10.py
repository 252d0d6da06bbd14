# MMPretrain's SimCLR on CIFAR-10, ResNet-18, one GPU: the baseline of
# accel-simclr_r18_cifar10.py.
_base_ = './mocov2_r18_cifar10.py'

model = dict(
    _delete_=True,
    type='SimCLR',
    data_preprocessor=_base_.model.data_preprocessor,
    backbone=_base_.model.backbone,
    neck=dict(
        type='NonLinearNeck',
        in_channels=512,
        hid_channels=512,
        out_channels=128,
        num_layers=2,
        with_avg_pool=True,
    ),
    head=dict(
        type='ContrastiveHead', loss=dict(type='CrossEntropyLoss'), temperature=0.1
    ),
)
