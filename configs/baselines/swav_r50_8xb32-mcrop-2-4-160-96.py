# Upstream SwAV on two views of 160 px and four of 96 px, 400 epochs (paper, Table 9).
_base_ = [
    '../_base_/swav_r50_400e.py',
    '../_base_/datasets/imagenet_swav_mcrop-2-4-160-96.py',
]

model = dict(head=dict(loss=dict(num_crops=_base_.num_crops)))
