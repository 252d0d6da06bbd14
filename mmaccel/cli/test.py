"""Evaluate a checkpoint with the metrics of its config."""

from __future__ import annotations

import argparse
import json
import os
from typing import TYPE_CHECKING

from mmaccel.errors import ConfigError

from .command import load, save, shared

if TYPE_CHECKING:
    from mmengine.config import Config

EXAMPLES = """\
  mmaccel test linear.py work_dirs/linear/epoch_100.pth
  mmaccel test linear.py work_dirs/linear/epoch_100.pth --out accuracy.json
  bash tools/dist_test.sh linear.py work_dirs/linear/epoch_100.pth 8
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    shared(parser, 'config', help='config file with a test (or val) dataloader')
    shared(parser, 'checkpoint', help='weights to evaluate')
    shared(parser, '--work-dir', '--cfg-options', '--launcher')
    parser.add_argument('--out', metavar='FILE', help='write the metrics as JSON')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)


def run(args: argparse.Namespace) -> None:
    """Evaluate."""
    from mmengine.dist import is_main_process

    from mmaccel.engine.distributed import init_process_group
    from mmaccel.engine.runner import build_runner
    from mmaccel.engine.weights import check_whole

    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = read_config(args)
    init_process_group(cfg.launcher, cfg.env_cfg)
    args.command.runner = runner = build_runner(cfg)
    if '://' not in args.checkpoint:
        check_whole(runner.model, args.checkpoint)
    metrics = runner.test()
    if is_main_process():
        print(json.dumps(metrics, default=float))
        save(args.out, metrics)


def read_config(args: argparse.Namespace) -> Config:
    """Build the evaluation's config from the command line."""
    from mmaccel.engine.config import prepare_config, set_work_dir
    from mmaccel.engine.preflight import check_data, check_writable

    cfg = load(args)
    cfg.launcher = args.launcher
    set_work_dir(cfg, args.work_dir)
    use_validation(cfg)
    prepare_config(cfg)
    if '://' not in args.checkpoint and not os.path.isfile(args.checkpoint):
        raise ConfigError(f'there is no checkpoint {args.checkpoint}')
    cfg.load_from, cfg.resume = args.checkpoint, False
    check_writable(cfg.work_dir)
    check_data(cfg, 'test_dataloader')
    return cfg


def use_validation(cfg: Config) -> None:
    """Use the validation set where a config names no test set."""
    parts = ('dataloader', 'evaluator', 'cfg')
    for split in ('test', 'val'):
        if all(cfg.get(f'{split}_{part}') is not None for part in parts):
            break
    else:
        raise ConfigError(
            f'{cfg.filename} has neither test_dataloader and test_evaluator nor '
            'val_dataloader and val_evaluator: a pretraining config measures no '
            'accuracy; monitor it with KNNHook, or evaluate its backbone with a linear '
            'classification config'
        )
    if split == 'val':
        for part in parts:
            cfg[f'test_{part}'] = cfg[f'val_{part}']
        cfg.test_cfg = dict(type='TestLoop')
