# Table 6, + PB: exits without windows.
_base_ = '../accel/simclr_r50_8xb32.py'

model = dict(crop_layer=None)
