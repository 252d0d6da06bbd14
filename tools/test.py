"""Evaluate a checkpoint with the metrics of its config."""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import List, Optional

try:
    import mmaccel  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != 'mmaccel':
        raise
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a plain checkout

from mmengine.config import Config, DictAction
from mmengine.dist import is_main_process

from mmaccel.engine.cli import Command, build_runner
from mmaccel.engine.config import load_config, prepare_config, set_work_dir
from mmaccel.engine.distributed import init_process_group
from mmaccel.engine.preflight import check_data, check_work_dir
from mmaccel.engine.weights import check_whole
from mmaccel.errors import ConfigError
from mmaccel.fileio import write_atomically

EXAMPLES = """
examples:
  python tools/test.py linear.py work_dirs/linear/epoch_100.pth
  python tools/test.py linear.py work_dirs/linear/epoch_100.pth --out accuracy.json
  bash tools/dist_test.sh linear.py work_dirs/linear/epoch_100.pth 8
"""


def parse_args(argv: Optional[List[str]] = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='config file with a test (or val) dataloader')
    parser.add_argument('checkpoint', help='weights to evaluate')
    parser.add_argument(
        '--work-dir', help='folder for logs; default ./work_dirs/<config name>'
    )
    parser.add_argument('--out', metavar='FILE', help='write the metrics as JSON')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override settings, such as test_dataloader.batch_size=64',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='what started the processes; tools/dist_test.sh sets it',
    )
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    parser.add_argument(
        '--debug', action='store_true', help='show the traceback of every error'
    )
    return parser.parse_args(argv)


def read_config(args: argparse.Namespace) -> Config:
    """Build the evaluation's config from the command line."""
    cfg = load_config(args.config, args.cfg_options)
    cfg.launcher = args.launcher
    set_work_dir(cfg, args.work_dir)
    use_validation(cfg)
    prepare_config(cfg)
    if '://' not in args.checkpoint and not os.path.isfile(args.checkpoint):
        raise ConfigError(f'there is no checkpoint {args.checkpoint}')
    cfg.load_from, cfg.resume = args.checkpoint, False
    check_work_dir(cfg.work_dir)
    check_data(cfg, 'test_dataloader')
    return cfg


def use_validation(cfg: Config) -> None:
    """Let the validation set stand in where a config names no test set."""
    parts = ('dataloader', 'evaluator', 'cfg')
    for split in ('test', 'val'):
        if all(cfg.get(f'{split}_{part}') is not None for part in parts):
            break
    else:
        raise ConfigError(
            f'{cfg.filename} has neither test_dataloader and test_evaluator nor '
            'val_dataloader and val_evaluator: a pretraining config measures no '
            'accuracy; watch it with KNNHook, or evaluate its backbone with a linear '
            'classification config'
        )
    if split == 'val':
        for part in parts:
            cfg[f'test_{part}'] = cfg[f'val_{part}']
        cfg.test_cfg = dict(type='TestLoop')


def main(argv: Optional[List[str]] = None) -> int:
    """Evaluate; return the exit code."""
    args = parse_args(argv)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))

    def body(command: Command) -> None:
        cfg = read_config(args)
        init_process_group(cfg.launcher, cfg.env_cfg)
        command.runner = build_runner(cfg)
        if '://' not in args.checkpoint:
            check_whole(command.runner.model, args.checkpoint)
        metrics = command.runner.test()
        if is_main_process():
            print(json.dumps(metrics, default=float))
            if args.out:
                write_atomically(args.out, json.dumps(metrics, default=float).encode())

    return Command(args.debug).run(body)


if __name__ == '__main__':
    sys.exit(main())
