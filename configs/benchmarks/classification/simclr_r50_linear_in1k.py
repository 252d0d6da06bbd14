# SimCLR, linear evaluation on frozen features: the config of MMSelfSup's published
# figures (resnet50_linear-8xb512-coslr-90e_in1k.py). LARS for 90 epochs, batch 4096.
_base_ = [
    '../../_base_/benchmarks/linear_r50_in1k.py',
    'mmselfsup::benchmarks/classification/_base_/schedules/lars_coslr-90e.py',
]

train_dataloader = dict(batch_size=512)

custom_hooks = [
    dict(_base_.custom_hooks[0], protocol='{train_cfg.max_epochs} epochs, LARS, cosine')
]

auto_scale_lr = dict(base_batch_size=4096)  # 8 GPUs x 512 images
