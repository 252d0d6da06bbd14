# MoCo v2 with views that grow from a half and first stages that are frozen late: the
# best of what the study tried on CIFAR-10, where it used the batch's negatives
# (research/report.md). Here the queue stays: 256 negatives per step are few beside its
# 65,536. Not measured on ImageNet.
_base_ = ['./mocov2_r50_8xb32-800e.py', '../../_base_/training_stages/grow-freeze.py']

model = dict(crop_layer=None)
custom_hooks = [dict(type='PartialBackpropHook', schedule=_base_.grow_freeze)]
