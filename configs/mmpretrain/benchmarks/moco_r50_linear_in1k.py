# MoCo v1 and v2, linear evaluation on frozen features: MMPretrain's own config, with a
# record of the result for `tools/analysis_tools/collect_results.py`.
_base_ = 'mmpretrain::mocov2/benchmarks/resnet50_8xb32-linear-steplr-100e_in1k.py'

custom_imports = dict(imports=['mmaccel'], allow_failed_imports=False)
custom_hooks = [
    dict(
        type='ResultHook',
        task='linear',
        dataset='ImageNet',
        metrics={'accuracy/top1': 'top1', 'accuracy/top5': 'top5'},
        protocol='{train_cfg.max_epochs} epochs, SGD, '
        'steps at {param_scheduler[0].milestones}',
    )
]

auto_scale_lr = dict(enable=False, base_batch_size=256)  # 8 GPUs x 32 images
