# MoCo v2 for images of about 32 px: a ResNet-18 whose stem keeps the resolution (3x3
# convolution, stride 1, no pooling). Queue, momentum and temperature are those of the
# MoCo authors' CIFAR-10 demo (facebookresearch/moco, branch colab-notebook).
# `mmcls.ResNet_CIFAR` counts its outputs from 0: out_indices=(3,) is the last stage.
_base_ = 'mmselfsup::selfsup/_base_/models/mocov2.py'

model = dict(
    queue_len=4096,
    momentum=0.99,
    backbone=dict(
        _delete_=True,
        type='mmcls.ResNet_CIFAR',
        depth=18,
        in_channels=3,
        out_indices=(3,),
        norm_cfg=dict(type='BN'),
    ),
    neck=dict(in_channels=512, hid_channels=512),
    head=dict(temperature=0.1),
)
