# Table 7: M = 10 candidate windows; M = 2 is the recipe itself.
_base_ = '../accel/simclr_r50_8xb32.py'

model = dict(crop_layer=dict(num_candidates=10))
