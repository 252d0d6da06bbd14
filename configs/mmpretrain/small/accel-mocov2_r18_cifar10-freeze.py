# MoCo v2 on CIFAR-10: the last loss in every update, no windows, and first stages that
# are frozen late in training. It saves a tenth of the operations
# (research/report.md, over 16 epochs of CIFAR-10 in a narrow network); the recipe with
# `-best` saves more.
_base_ = [
    './accel-mocov2_r18_cifar10.py',
    '../../_base_/training_stages/freezing.py',
]

model = dict(crop_layer=None)
custom_hooks = [dict(type='PartialBackpropHook', schedule=_base_.freezing)]
