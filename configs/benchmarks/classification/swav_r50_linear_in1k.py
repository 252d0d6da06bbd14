# SwAV, linear evaluation on frozen features: the config of MMSelfSup's published
# figure (resnet50_linear-8xb32-coslr-100e_in1k.py). SGD for 100 epochs, learning rate
# 0.3 on a cosine.
_base_ = [
    '../../_base_/benchmarks/linear_r50_in1k.py',
    'mmselfsup::benchmarks/classification/_base_/schedules/sgd_coslr-100e.py',
]

custom_hooks = [
    dict(_base_.custom_hooks[0], protocol='{train_cfg.max_epochs} epochs, SGD, cosine')
]
