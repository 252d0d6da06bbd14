# MoCo v1 on CIFAR-10, upstream's mathematics at our speed: the whole network, its last
# loss, no windows. Equal to the baseline up to rounding.
_base_ = './accel-mocov1_r18_cifar10.py'

model = dict(crop_layer=None)
custom_hooks = [dict(type='PartialBackpropHook', exit_probs=(0, 0, 0, 1))]
