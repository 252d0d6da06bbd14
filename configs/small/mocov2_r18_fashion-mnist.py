# Upstream MoCo v2 on Fashion-MNIST, ResNet-18, one GPU: the baseline of
# accel-mocov2_r18_fashion-mnist.py.
_base_ = [
    '../_base_/models/mocov2_r18_cifar-stem.py',
    '../_base_/datasets/fashion-mnist_mocov2.py',
    '../_base_/schedules/sgd_coslr-200e_small.py',
    '../_base_/default_runtime.py',
]

model = dict(
    # mean and deviation of the training images, on one channel
    data_preprocessor=dict(mean=(72.94,), std=(90.02,), bgr_to_rgb=False),
    backbone=dict(in_channels=1),
)

default_hooks = dict(knn=_base_.knn_monitor)
