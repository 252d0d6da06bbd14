# Accel-SwAV on two views of 224 px (paper, Tables 1 and 9), ResNet-50, 400 epochs,
# 8 GPUs x 32 images.
_base_ = [
    '../_base_/accel-swav_r50_400e.py',
    '../_base_/datasets/imagenet_swav_2-224.py',
]
baseline = 'configs/baselines/swav_r50_8xb32.py'

model = dict(head=dict(loss=dict(num_crops=_base_.num_crops)))
