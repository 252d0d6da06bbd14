# Upstream MoCo v2 on CIFAR-10 as the study trains it: images in memory, views batched,
# kNN on a part of the training images that is held out, the learning rate by iteration,
# the layout that the accelerated form has.
_base_ = '../../configs/small/mocov2_r18_cifar10.py'

custom_imports = dict(imports=['research.parts'], allow_failed_imports=False)
fast_views = True
test_size = 32  # images are judged as they are, whatever the size of the views

_labelled = dict(
    _delete_=True,
    type='FolderInMemory',
    data_root='data/cifar10/train',
    part='train',
    pipeline=[dict(type='PackSelfSupInputs', algorithm_keys=['gt_label'])],
)
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='FolderInMemory',
        data_root='data/cifar10/train',
        part='train',
        pipeline=[
            dict(type='MultiView', num_views=2, transforms=[_base_.view_pipeline]),
            dict(type='PackSelfSupInputs', meta_keys=['img_path']),
        ],
    )
)
default_hooks = dict(
    throughput=dict(clock='wall'),
    knn=dict(
        interval=5,
        train_dataloader=dict(dataset=_labelled),
        test_dataloader=dict(dataset=dict(_labelled, part='held_out')),
    ),
    checkpoint=dict(interval=50, max_keep_ckpts=1),
)
param_scheduler = [
    dict(
        type='CosineAnnealingLR',
        T_max=200,
        end=200,
        by_epoch=True,
        convert_to_iter_based=True,
    )
]
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(vis_backends=vis_backends)

custom_hooks = [dict(type='ChannelsLastHook')]
