"""Train anything: pretraining, linear evaluation, detection, segmentation."""

import argparse
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

from mmaccel.engine.checkpoints import find_newest, is_whole
from mmaccel.engine.cli import Command, build_runner
from mmaccel.engine.config import load_config, prepare_config, set_work_dir
from mmaccel.engine.distributed import init_process_group, process_rank
from mmaccel.engine.preflight import check_amp, check_training
from mmaccel.engine.weights import PREFIX, drop_pretrained, set_pretrained
from mmaccel.errors import ConfigError

EXAMPLES = """
examples:
  # Accel-MoCo v2 on one device, results in work_dirs/mocov2_r50_8xb32
  python tools/train.py configs/accel/mocov2_r50_8xb32.py --auto-scale-lr

  # the same over a plain folder of images
  python tools/train.py configs/accel/mocov2_r50_8xb32.py --cfg-options \\
      train_dataloader.dataset.type=UnlabelledFolder \\
      train_dataloader.dataset.data_root=photos

  # continue a run that was killed, from its newest whole checkpoint
  python tools/train.py configs/accel/mocov2_r50_8xb32.py --resume

  # linear evaluation of a pretrained backbone
  python tools/train.py configs/benchmarks/classification/moco_r50_linear_in1k.py \\
      --pretrained work_dirs/mocov2_r50_8xb32/epoch_200.pth

  # several processes on one machine
  bash tools/dist_train.sh configs/accel/mocov2_r50_8xb32.py 8
"""


def parse_args(argv: Optional[List[str]] = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='config file, of any MMEngine-based package')
    parser.add_argument(
        '--work-dir', help='folder for results; default ./work_dirs/<config name>'
    )
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
        'segmentation; one that does not fit is refused',
    )
    parser.add_argument(
        '--prefix',
        default=PREFIX,
        help="what the names of that backbone start with; '' for weights of a plain "
        'ResNet (default: %(default)s)',
    )
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
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override settings, such as optim_wrapper.optimizer.lr=0.06; a list is '
        'key="[a,b]" or key=a,b',
    )
    parser.add_argument(
        '--seed',
        type=int,
        help='seed of everything random; by default one is drawn and logged',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='what started the processes; tools/dist_train.sh sets it',
    )
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    parser.add_argument(
        '--debug', action='store_true', help='show the traceback of every error'
    )
    return parser.parse_args(argv)


def read_config(args: argparse.Namespace) -> Config:
    """Build the run's config from the command line."""
    cfg = load_config(args.config, args.cfg_options)
    cfg.launcher = args.launcher
    set_work_dir(cfg, args.work_dir)
    if args.seed is not None:
        cfg.randomness = dict(cfg.get('randomness') or {}, seed=args.seed)
    if args.pretrained:
        set_pretrained(cfg, args.pretrained, args.prefix)
    if args.amp:
        use_amp(cfg, args.amp)
    if args.auto_scale_lr:
        if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
            raise ConfigError(
                'the config does not say for which total batch its learning rate is; '
                'add --cfg-options auto_scale_lr.base_batch_size=256'
            )
        cfg.auto_scale_lr['enable'] = True
    prepare_config(cfg)
    return cfg


def use_amp(cfg: Config, precision: str) -> None:
    """Switch the optimizer wrapper to mixed precision."""
    kind = cfg.optim_wrapper.get('type', 'OptimWrapper')
    if kind.rpartition('.')[2] not in (
        'OptimWrapper',
        'AmpOptimWrapper',
        'AutocastOptimWrapper',
    ):
        raise ConfigError(f'--amp does not work with optim_wrapper.type={kind}')
    if precision == 'bf16':
        cfg.optim_wrapper.type = 'mmselfsup.AutocastOptimWrapper'
        for key in ('loss_scale', 'dtype'):
            cfg.optim_wrapper.pop(key, None)
    else:
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')


def choose_checkpoint(cfg: Config, resume: Optional[str]) -> None:
    """Settle from which checkpoint to continue, if any."""
    if resume not in (None, 'auto'):
        cfg.resume, cfg.load_from = True, resume
    elif resume == 'auto' or (cfg.get('resume') and not cfg.get('load_from')):
        hook = cfg.get('default_hooks', {}).get('checkpoint') or {}
        newest, damaged = find_newest(cfg.work_dir, hook.get('filename_tmpl'))
        for path in damaged:
            say(f'warning: the checkpoint {path} is damaged and passed over')
        cfg.resume, cfg.load_from = newest is not None, newest
        if newest is None:
            say(f'No checkpoint in {cfg.work_dir} yet: training starts anew')
    path = cfg.get('load_from')
    if path and '://' not in path:
        if not os.path.isfile(path):
            raise ConfigError(f'there is no checkpoint {path}')
        if cfg.resume and not is_whole(path):
            raise ConfigError(
                f'the checkpoint {path} is damaged; give --resume alone to continue '
                'from the newest whole one'
            )


def tell_where(work_dir: str) -> None:
    """Say where the results are."""
    print(f'Done. Checkpoints, logs and curves: {work_dir}')
    if any(Path(work_dir).glob('**/events.out.tfevents*')):
        print(f'  tensorboard --logdir {work_dir}')


def say(message: str) -> None:
    """Print once, not once a process."""
    if process_rank() == 0:
        print(message, flush=True)


def main(argv: Optional[List[str]] = None) -> int:
    """Train; return the exit code."""
    args = parse_args(argv)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))

    def body(command: Command) -> None:
        cfg = read_config(args)
        check_training(cfg)
        check_amp(cfg)
        choose_checkpoint(cfg, args.resume)
        if cfg.get('load_from'):
            drop_pretrained(cfg)
        init_process_group(cfg.launcher, cfg.env_cfg)
        command.runner = build_runner(cfg)
        say(f'seed {command.runner.seed}, results in {command.runner.work_dir}')
        command.runner.train()
        if is_main_process():
            tell_where(command.runner.work_dir)

    return Command(args.debug).run(body)


if __name__ == '__main__':
    sys.exit(main())
