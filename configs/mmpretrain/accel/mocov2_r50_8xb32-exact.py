# MoCo v2, upstream's mathematics at our speed: the whole network, its last loss, no
# windows. Equal to the baseline up to rounding.
_base_ = './mocov2_r50_8xb32.py'

model = dict(crop_layer=None)
custom_hooks = [dict(type='PartialBackpropHook', exit_probs=(0, 0, 0, 1))]
