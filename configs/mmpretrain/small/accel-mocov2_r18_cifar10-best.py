# MoCo v2 on CIFAR-10 with views that grow from a half and first stages that are frozen
# late, and the step's keys as negatives, which a queue's age does not tell apart
# (research/report.md).
_base_ = [
    './accel-mocov2_r18_cifar10.py',
    '../../_base_/training_stages/grow-freeze.py',
]

model = dict(crop_layer=None, negatives='batch')
custom_hooks = [dict(type='PartialBackpropHook', schedule=_base_.grow_freeze)]
