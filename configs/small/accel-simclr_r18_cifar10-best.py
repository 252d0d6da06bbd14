# SimCLR on CIFAR-10 with views that grow from a half and first stages that are frozen
# late: over 22 epochs it had the accuracy of the baseline's 16, in 0.69 of the time
# (research/report.md, in a narrow network).
_base_ = ['./accel-simclr_r18_cifar10.py', '../_base_/training_stages/grow-freeze.py']

model = dict(crop_layer=None)
custom_hooks = [dict(type='PartialBackpropHook', schedule=_base_.grow_freeze)]
