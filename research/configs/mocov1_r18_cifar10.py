# Upstream MoCo v1 on CIFAR-10: a linear projector, colour jitter in every view.
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
_view = [_crop, _grey, *_jitter.transforms, _flip]
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type='MultiView', num_views=2, transforms=[_view]),
            dict(type='PackSelfSupInputs', meta_keys=['img_path']),
        ],
    )
)
