# As faster-rcnn_r50-c4_voc07.py, Table 3's frozen backbone: stem and stages 1 to 3 keep
# their parameters and BN statistics. Stage 4 is the detector's head in a C4 model and
# trains here as there, from the checkpoint's weights.
_base_ = './faster-rcnn_r50-c4_voc07.py'

model = dict(backbone=dict(frozen_stages=3))

custom_hooks = [dict(_base_.custom_hooks[0], frozen=True)]
