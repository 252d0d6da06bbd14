# Table 4, Skipping: residual branches that are not adjacent get a gradient, half of
# them, which costs what BP-to-Input does.
_base_ = '../accel/simclr_r50_8xb32.py'

custom_hooks = [
    dict(type='PartialBackpropHook', update_scheme='skipping', num_blocks=8),
]
