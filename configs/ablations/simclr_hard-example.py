# Table 5, Hard Example: the hardest images go on whole, as many as cost the same.
_base_ = '../accel/simclr_r50_8xb32.py'

model = dict(
    crop_layer=dict(
        _delete_=True, type='HardExampleLayer', after_stages=(1, 2), keep=0.5625
    )
)
