# Table 2, backbone frozen: its parameters and BN statistics stay, the stem's included.
_base_ = './pspnet_r50-d8_voc12aug.py'

model = dict(backbone=dict(frozen_stages=4))

custom_hooks = [dict(_base_.custom_hooks[0], frozen=True)]
