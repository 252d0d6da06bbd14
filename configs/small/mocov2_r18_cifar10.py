# Upstream MoCo v2 on CIFAR-10, ResNet-18, one GPU: the baseline of
# accel-mocov2_r18_cifar10.py.
_base_ = [
    '../_base_/models/mocov2_r18_cifar-stem.py',
    '../_base_/datasets/cifar10-folder_mocov2.py',
    '../_base_/schedules/sgd_coslr-200e_small.py',
    '../_base_/default_runtime.py',
]

model = dict(
    data_preprocessor=dict(mean=(125.31, 122.95, 113.87), std=(62.99, 62.09, 66.70))
)

default_hooks = dict(knn=_base_.knn_monitor)
