"""Building the runner of a config."""

import torch
from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmaccel.hardware import process_rank

from .weights import check_pretrained
from .worker import end_workers_with_process


def build_runner(cfg: Config) -> Runner:
    """Build the config's runner, MMEngine's unless ``runner_type`` names another.

    Where ``auto_scale_lr`` scales the learning rate, the batch is that of an update:
    images per iteration times the iterations whose gradients are accumulated.
    ``matmul_precision`` of the config (``'highest'``, ``'high'`` or ``'medium'``) is
    torch's of products of float32 in the whole process: ``'high'`` lets GPUs use TF32.

    Raises:
        ConfigError: If the config is a training's and pretrained weights do not fit.
    """
    end_workers_with_process()
    precision = cfg.get('matmul_precision') or 'highest'
    torch.set_float32_matmul_precision(precision)
    if torch.cuda.is_available() and process_rank() == 0:
        used = 'full' if precision == 'highest' else 'TF32'
        print(f"float32 products in {used} precision (matmul_precision='{precision}')")
    custom = 'runner_type' in cfg
    runner: Runner = RUNNERS.build(cfg) if custom else Runner.from_cfg(cfg)  # type: ignore[arg-type]
    if runner.auto_scale_lr:  # mmengine counts one iteration's images
        accumulated = (cfg.get('optim_wrapper') or {}).get('accumulative_counts', 1)
        runner.auto_scale_lr['base_batch_size'] /= accumulated
    if runner._train_loop is not None and runner._load_from is None:
        check_pretrained(runner.model)
    return runner
