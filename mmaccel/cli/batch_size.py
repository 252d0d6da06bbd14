"""Find the largest batch whose training step fits in memory, and its learning rate.

The paper sets "the batch size as large as possible" and scales the learning rate
linearly (Section 4.1). Batches are tried with real steps, optimizer included, of every
exit that may be drawn; the exit that needs most decides. On CUDA a batch fits if the
device can hold it; elsewhere a process that runs the step must stay below --limit-mb.
"""

from __future__ import annotations

import argparse

from .command import at_least, exit_title, load, save, shared

EXAMPLES = """\
  mmaccel batch-size configs/accel/mocov2_r50_8xb32.py --precision bf16 --gpus 8
  mmaccel batch-size configs/accel/simclr_r50_8xb32.py --device cpu \\
      --limit-mb 8000 --json batch.json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    shared(parser, 'config')
    shared(parser, '--device')
    parser.add_argument(
        '--gpus', type=at_least(1), default=1, help='GPUs of the training; default: 1'
    )
    parser.add_argument(
        '--limit-mb',
        type=float,
        metavar='N',
        help='MiB that may be used; default on CUDA: all, needed elsewhere',
    )
    parser.add_argument(
        '--max',
        type=at_least(8),
        default=4096,
        help='largest batch to try; default: 4096',
    )
    shared(parser, '--size', '--precision', '--layout', '--json', '--cfg-options')


def check(args: argparse.Namespace) -> None:
    """Reject a search without a limit."""
    device = args.device or 'cuda'  # or what `run` finds
    if args.limit_mb is None and not device.startswith('cuda'):
        raise argparse.ArgumentTypeError(
            f'say what may be used on {device}: --limit-mb N'
        )


def run(args: argparse.Namespace) -> None:
    """Search, print and save."""
    from mmaccel.analysis import Numerics
    from mmaccel.analysis.batch_size import batch_report
    from mmaccel.hardware import choose_device

    args.device = choose_device(args.device)
    check(args)
    cfg = load(args)
    report = batch_report(
        args.config,
        cfg,
        Numerics(args.precision, args.layout),
        args.device,
        args.gpus,
        args.limit_mb,
        args.max,
        args.size,
    )
    best, rate = report['batch_size'], report['learning_rate']
    print(f'{report["device"]}, torch {report["torch"]}, {args.gpus} GPU(s)')
    for name, peak in report['peak_memory_mb'].items():
        print(f'  {exit_title(name):10}{peak:10.1f} MiB')
    print(f'largest batch: {best}' + ' (--max)' * report['largest_tried'])
    if rate is None:
        print("learning rate: the config's; it has no auto_scale_lr.base_batch_size")
    else:
        print(
            f'learning rate: {rate:g} = {cfg.optim_wrapper.optimizer.lr:g} x {best} x '
            f'{args.gpus} / {report["base_batch_size"]}'
        )
        print(
            f'  --cfg-options train_dataloader.batch_size={best} '
            f'optim_wrapper.optimizer.lr={rate:g}'
        )
    save(args.json, report)
