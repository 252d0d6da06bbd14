# Accel-MoCo v2 on CIFAR-10, exits at the beginning only and no windows: the best
# found, on CIFAR-10, where it is no worse than a baseline of its time, which the
# paper's method is (docs/study/report.md).
_base_ = ['./accel-mocov2_r18_cifar10.py', '../_base_/phases/exits-first.py']

model = dict(crop_layer=None)
custom_hooks = [dict(type='PartialBackpropHook', phases=_base_.exits_first)]
