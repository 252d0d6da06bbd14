# MoCo v1 with views that grow from a half and first stages that are frozen late, as
# MoCo v2's: it was not measured for MoCo v1.
_base_ = ['./mocov1_r50_8xb32.py', '../../_base_/training_stages/grow-freeze.py']

model = dict(crop_layer=None)
custom_hooks = [dict(type='PartialBackpropHook', schedule=_base_.grow_freeze)]
