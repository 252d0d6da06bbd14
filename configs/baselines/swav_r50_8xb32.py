# Upstream SwAV on two views of 224 px, 400 epochs (paper, Tables 1 and 9), which
# upstream has no config for.
_base_ = ['../_base_/swav_r50_400e.py', '../_base_/datasets/imagenet_swav_2-224.py']

model = dict(head=dict(loss=dict(num_crops=_base_.num_crops)))
