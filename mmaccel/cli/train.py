"""Train anything: pretraining, linear evaluation, detection, segmentation."""

from __future__ import annotations

import argparse
import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from mmaccel.errors import ConfigError
from mmaccel.fileio import lock_folder
from mmaccel.hardware import process_rank

from .command import load, shared

if TYPE_CHECKING:
    from mmengine.config import Config

EXAMPLES = """\
  # Accel-MoCo v2 on one device, results in work_dirs/mocov2_r50_8xb32
  mmaccel train configs/accel/mocov2_r50_8xb32.py --auto-scale-lr

  # the same over a plain folder of images
  mmaccel train configs/accel/mocov2_r50_8xb32.py --cfg-options \\
      train_dataloader.dataset.type=UnlabelledFolder \\
      train_dataloader.dataset.data_root=photos

  # continue a run that was killed, from its newest whole checkpoint
  mmaccel train configs/accel/mocov2_r50_8xb32.py --resume

  # linear evaluation of a pretrained backbone
  mmaccel train configs/benchmarks/classification/moco_r50_linear_in1k.py \\
      --pretrained work_dirs/mocov2_r50_8xb32/epoch_200.pth

  # several processes on one machine
  bash tools/dist_train.sh configs/accel/mocov2_r50_8xb32.py 8
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    shared(parser, 'config', help='config file, of any MMEngine-based package')
    shared(parser, '--work-dir')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CKPT',
        help='continue from this checkpoint, or from the newest whole one in the work '
        'directory; without any, training starts anew',
    )
    parser.add_argument(
        '--pretrained',
        metavar='CKPT',
        help="start from this checkpoint's backbone: linear evaluation, detection, "
        'segmentation; one that does not fit is rejected',
    )
    shared(parser, '--prefix')
    parser.add_argument(
        '--amp',
        nargs='?',
        const='fp16',
        choices=['fp16', 'bf16'],
        help='mixed precision: fp16 with loss scaling, which needs a GPU, or bf16 '
        '(default: fp16)',
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help="scale the learning rate with the total batch, by the config's "
        'auto_scale_lr.base_batch_size',
    )
    shared(
        parser,
        '--seed',
        default=None,
        help='seed of everything random; by default one is drawn and logged',
    )
    shared(parser, '--cfg-options', '--launcher')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)


def run(args: argparse.Namespace) -> None:
    """Train."""
    from mmengine.dist import is_main_process

    from mmaccel.engine.config_reader import is_pretraining
    from mmaccel.engine.distributed import init_process_group
    from mmaccel.engine.hooks import InterruptHook
    from mmaccel.engine.preflight import check_training
    from mmaccel.engine.probe import probe_training
    from mmaccel.engine.runner import build_runner
    from mmaccel.engine.weights import drop_pretrained

    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = read_config(args)
    check_training(cfg)
    if process_rank() == 0:
        args.command.lock = lock_folder(cfg.work_dir)
    choose_checkpoint(cfg, args.resume)
    if cfg.get('load_from'):
        drop_pretrained(cfg)
    init_process_group(cfg.launcher, cfg.env_cfg)
    args.command.runner = runner = build_runner(cfg)
    if is_pretraining(cfg):
        probe_training(runner)
    _say(f'seed {runner.seed}, results in {runner.work_dir}')
    with ExitStack() as stack:
        for hook in runner.hooks:
            if isinstance(hook, InterruptHook):
                stack.enter_context(hook.listen())
        runner.train()
    if is_main_process():
        print(f'Done. Checkpoints, logs and curves: {runner.work_dir}')
        if any(Path(runner.work_dir).glob('**/events.out.tfevents*')):
            print(f'  tensorboard --logdir {runner.work_dir}')


def read_config(args: argparse.Namespace) -> Config:
    """Build the run's config from the command line."""
    from mmaccel.engine.autocast_wrapper import set_precision
    from mmaccel.engine.config import prepare_config, set_work_dir
    from mmaccel.engine.settings import check_settings
    from mmaccel.engine.weights import set_pretrained

    args.command.cfg = cfg = load(args)
    check_settings(cfg)
    cfg.launcher = args.launcher
    set_work_dir(cfg, args.work_dir)
    if args.seed is not None:
        cfg.randomness = dict(cfg.get('randomness') or {}, seed=args.seed)
    if args.pretrained:
        set_pretrained(cfg, args.pretrained, args.prefix)
    if args.amp:
        set_precision(cfg.optim_wrapper, args.amp)
    if args.auto_scale_lr:
        if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
            raise ConfigError(
                'the config does not say for which total batch its learning rate is; '
                'add --cfg-options auto_scale_lr.base_batch_size=256'
            )
        cfg.auto_scale_lr['enable'] = True
    return prepare_config(cfg)


def choose_checkpoint(cfg: Config, resume: str | None) -> None:
    """Settle from which checkpoint to continue, if any."""
    from mmaccel.engine.checkpoint_reader import read_checkpoint, read_run
    from mmaccel.engine.checkpoints import find_newest, is_resumable

    if resume not in (None, 'auto'):
        cfg.resume, cfg.load_from = True, resume
    elif resume == 'auto' or (cfg.get('resume') and not cfg.get('load_from')):
        hook = cfg.get('default_hooks', {}).get('checkpoint') or {}
        newest, skipped = find_newest(
            cfg.work_dir, hook.get('filename_tmpl'), is_resumable
        )
        for path in skipped:
            _say(f'warning: {path} is skipped: damaged, or no checkpoint of a run')
        if skipped and newest is None:
            raise ConfigError(
                f'none of the checkpoints in {cfg.work_dir} is whole; move them away '
                'to start anew, or give another folder with --work-dir'
            )
        cfg.resume = newest is not None
        if newest is None:
            begin = f' from {cfg.load_from}' if cfg.get('load_from') else ''
            _say(f'No checkpoint in {cfg.work_dir} yet: training starts anew{begin}')
        else:
            cfg.load_from = newest
    path = cfg.get('load_from')
    if path and '://' not in path:
        try:
            if cfg.get('resume'):
                use_seed(cfg, read_run(path))
            else:
                read_checkpoint(path)
        except ConfigError as error:
            if resume in (None, 'auto'):
                raise
            raise ConfigError(
                f'{error}; or give --resume alone to continue from the newest whole one'
            ) from error


def use_seed(cfg: Config, checkpoint: dict) -> None:
    """Go on with a run's seed, which data loaders ask for while they are built."""
    seed = checkpoint['meta'].get('seed')
    randomness = cfg.get('randomness') or {}
    if randomness.get('seed') is None and isinstance(seed, int):
        cfg.randomness = dict(randomness, seed=seed)


def _say(message: str) -> None:
    """Print once, not once per process."""
    if process_rank() == 0:
        print(message, flush=True)
