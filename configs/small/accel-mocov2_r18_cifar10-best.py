# Accel-MoCo v2 on CIFAR-10 with exits in the first quarter only, on growing views,
# and no windows: a preset of the study (docs/study/report.md). There it is far above
# the paper's method and no better than a baseline shortened to its time. It was tried
# over 16 epochs of CIFAR-10 in a narrow network, not over this recipe's 200.
_base_ = ['./accel-mocov2_r18_cifar10.py', '../_base_/phases/exits-first.py']

model = dict(crop_layer=None)
custom_hooks = [dict(type='PartialBackpropHook', phases=_base_.exits_first)]
