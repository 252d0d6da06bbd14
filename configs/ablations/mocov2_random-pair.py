# Beside Table 5: any pair of windows goes on, at the same cost.
_base_ = '../accel/mocov2_r50_8xb32.py'

model = dict(crop_layer=dict(prefer='random'))
