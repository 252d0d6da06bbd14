# Not in the paper: the keys stop at the exit too.
_base_ = '../accel/mocov2_r50_8xb32.py'

model = dict(key_forward='truncated')
