# MoCo v1 and v2, linear evaluation on frozen features: MMSelfSup's setting for both,
# and the config of its published MoCo v2 figure
# (resnet50_linear-8xb32-steplr-100e_in1k.py). SGD for 100 epochs, learning rate 30, a
# tenth of it after 60 and again after 80.
_base_ = [
    '../../_base_/benchmarks/linear_r50_in1k.py',
    'mmselfsup::benchmarks/classification/_base_/schedules/sgd_steplr-100e.py',
]

optimizer = dict(lr=30.0, weight_decay=0.0)
optim_wrapper = dict(optimizer=optimizer)

custom_hooks = [
    dict(
        _base_.custom_hooks[0],
        protocol='{train_cfg.max_epochs} epochs, SGD, '
        'steps at {param_scheduler[0].milestones}',
    )
]
