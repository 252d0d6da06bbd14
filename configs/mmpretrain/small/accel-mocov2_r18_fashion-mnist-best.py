# MoCo v2 on Fashion-MNIST with views that grow from a half and first stages that are
# frozen late, and the step's keys as negatives (research/report.md, on CIFAR-10).
_base_ = [
    './accel-mocov2_r18_fashion-mnist.py',
    '../../_base_/training_stages/grow-freeze.py',
]

model = dict(crop_layer=None, negatives='batch')
custom_hooks = [dict(type='PartialBackpropHook', schedule=_base_.grow_freeze)]
