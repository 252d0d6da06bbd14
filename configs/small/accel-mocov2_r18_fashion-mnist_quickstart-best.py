# What won, as tools/quickstart.sh trains it: accel-mocov2_r18_fashion-mnist-best.py at
# the quickstart's size.
_base_ = [
    './accel-mocov2_r18_fashion-mnist_quickstart.py',
    '../_base_/training_stages/grow-freeze.py',
]

model = dict(crop_layer=None, negatives='batch')
custom_hooks = [dict(type='PartialBackpropHook', schedule=_base_.grow_freeze)]
