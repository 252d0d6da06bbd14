# MoCo v1 on CIFAR-10 with views that grow from a half, first stages that are frozen
# late and the step's keys as negatives, as MoCo v2's: not measured for MoCo v1.
_base_ = ['./accel-mocov1_r18_cifar10.py', '../_base_/training_stages/grow-freeze.py']

model = dict(crop_layer=None, negatives='batch')
custom_hooks = [dict(type='PartialBackpropHook', schedule=_base_.grow_freeze)]
