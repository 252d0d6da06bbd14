# SwAV on CIFAR-10 with first stages that are frozen late in training: the whole
# network, its last loss, no windows.
_base_ = ['./accel-swav_r18_cifar10.py', '../../_base_/training_stages/freezing.py']

model = dict(crop_layer=None)
custom_hooks = [dict(type='PartialBackpropHook', schedule=_base_.freezing)]
