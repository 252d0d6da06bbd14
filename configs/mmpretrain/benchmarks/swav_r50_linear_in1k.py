# SwAV, linear evaluation on frozen features: MMPretrain's own config, with a
# record of the result for `tools/analysis_tools/collect_results.py`.
_base_ = 'mmpretrain::swav/benchmarks/resnet50_8xb512-linear-coslr-90e_in1k.py'

custom_imports = dict(imports=['mmaccel'], allow_failed_imports=False)
custom_hooks = [
    dict(
        type='ResultHook',
        task='linear',
        dataset='ImageNet',
        metrics={'accuracy/top1': 'top1', 'accuracy/top5': 'top5'},
        protocol='{train_cfg.max_epochs} epochs, LARS, cosine',
    )
]

auto_scale_lr = dict(enable=False, base_batch_size=4096)  # 8 GPUs x 512 images
