# Table 4, Nearby-Block: a run of stages gets a gradient, its input is detached. Later
# exits are more likely, which brings the cost near BP-to-Input's.
_base_ = '../accel/mocov2_r50_8xb32.py'

custom_hooks = [
    dict(
        type='PartialBackpropHook',
        update_scheme='nearby_block',
        exit_probs=(0, 0, 0.25, 0.75),
    ),
]
