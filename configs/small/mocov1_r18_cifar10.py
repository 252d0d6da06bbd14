# Upstream MoCo v1 on CIFAR-10, ResNet-18, one GPU: a linear projector, and jitter in
# every view. The baseline of accel-mocov1_r18_cifar10.py.
_base_ = './mocov2_r18_cifar10.py'

model = dict(
    neck=dict(
        _delete_=True,
        type='LinearNeck',
        in_channels=512,
        out_channels=128,
        with_avg_pool=True,
    ),
    head=dict(temperature=0.07),
)

_crop, _jitter, _grey, _flip = _base_.view_pipeline
view_pipeline = [_crop, _grey, *_jitter.transforms, _flip]
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='MultiView', num_views=2, transforms=[view_pipeline]),
            dict(type='PackSelfSupInputs', meta_keys=['img_path']),
        ]
    )
)
