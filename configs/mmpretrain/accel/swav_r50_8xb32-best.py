# SwAV with first stages that are frozen late in training: the whole network, its last
# loss, no windows. Growing views were not measured with SwAV, whose small views are
# small already; nor was this.
_base_ = ['./swav_r50_8xb32.py', '../../_base_/training_stages/freezing.py']

model = dict(crop_layer=None)
custom_hooks = [
    *_base_.custom_hooks[:-1],
    dict(type='PartialBackpropHook', schedule=_base_.freezing),
]
