"""Find the largest batch whose training step fits in memory, and its learning rate.

The paper sets "the batch size as large as possible" and scales the learning rate
linearly (Section 4.1). Batches are tried with real steps, optimizer included, of every
exit that may be drawn; the exit that needs most decides. On CUDA a batch fits if the
device can hold it; elsewhere a process that runs the step must stay below --limit-mb.
"""

from __future__ import annotations

import argparse
import inspect
import json
import platform
import sys
from pathlib import Path

try:
    import mmaccel  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != 'mmaccel':
        raise
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a plain checkout

import torch
from mmaccel.engine.cli import Command
from mmengine.config import Config, DictAction
from mmselfsup.registry import MODELS

from mmaccel.analysis import Numerics
from mmaccel.analysis.batch_size import (
    STEP,
    batch_candidates,
    largest_fitting,
    peaks_in_child,
    peaks_on_cuda,
)
from mmaccel.analysis.device import device_name, limit_memory
from mmaccel.analysis.numerics import LAYOUTS, PRECISIONS
from mmaccel.engine.config import load_config
from mmaccel.errors import ConfigError
from mmaccel.fileio import write_atomically

EXAMPLES = """examples:
  python tools/analysis_tools/find_batch_size.py configs/accel/mocov2_r50_8xb32.py \\
      --device cuda --precision bf16 --gpus 8
  python tools/analysis_tools/find_batch_size.py configs/accel/simclr_r50_8xb32.py \\
      --device cpu --limit-mb 8000 --json batch.json
"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='pretraining config')
    parser.add_argument(
        '--device',
        default='cuda' if torch.cuda.is_available() else 'cpu',
        help='torch device; default: cuda if there is one',
    )
    parser.add_argument(
        '--gpus', type=int, default=1, help='GPUs of the training; default: 1'
    )
    parser.add_argument(
        '--limit-mb',
        type=float,
        metavar='N',
        help='MiB that may be used; default on CUDA: all, needed elsewhere',
    )
    parser.add_argument(
        '--max', type=int, default=4096, help='largest batch to try; default: 4096'
    )
    parser.add_argument('--size', type=int, help='side of the views in pixels')
    parser.add_argument('--precision', choices=PRECISIONS, help="default: the config's")
    parser.add_argument(
        '--layout', choices=LAYOUTS, default='config', help="default: the config's"
    )
    parser.add_argument('--json', metavar='F', help='also write the figures to F')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, help='override settings'
    )
    args = parser.parse_args(argv)
    cuda = args.device.startswith('cuda')
    if cuda and not torch.cuda.is_available():
        parser.error('no CUDA device here; use --device cpu --limit-mb N')
    if not cuda and args.limit_mb is None:
        parser.error(f'say what may be used on {args.device}: --limit-mb N')
    if args.gpus < 1 or args.max < STEP:
        parser.error(f'--gpus must be at least 1 and --max at least {STEP}')
    return args


def main(argv: list[str] | None = None) -> int:
    """Search, print and save; return the exit code."""
    args = parse_args(argv)
    return Command().run(lambda _: report_batch(args))


def report_batch(args: argparse.Namespace) -> None:
    """Search, print and save."""
    cfg = load_config(args.config, args.cfg_options)
    numerics = Numerics(args.precision, args.layout)
    numerics = numerics.resolve(cfg, torch.device(args.device))
    on_cuda = args.device.startswith('cuda')
    if on_cuda and args.limit_mb is not None:
        limit_memory(args.device, args.limit_mb)
    try_batch = peaks_on_cuda if on_cuda else peaks_in_child
    peaks: dict[int, dict[str, float]] = {}
    tries = 0

    def fits(batch_size: int) -> bool:
        nonlocal tries
        tries += 1
        found = try_batch(cfg, batch_size, args.size, args.device, numerics)
        peaks[batch_size] = found or {}
        fit = found is not None
        if found is not None and not on_cuda:
            fit = max(found.values()) <= args.limit_mb
        needs = f'{max(found.values()):.0f} MiB' if found else 'out of memory'
        print(f'batch {batch_size}: {needs}{"" if fit else ", does not fit"}')
        return fit

    candidates = batch_candidates(queue_len(cfg), args.gpus, args.max)
    best = largest_fitting(fits, candidates)
    if best is None:
        raise ConfigError(
            f'not even a batch of {candidates[0]} fits in memory; use smaller images '
            '(--size), --precision bf16 or more memory (--limit-mb)'
        )
    base, rate = learning_rate(cfg, best * args.gpus)
    report = dict(
        device=device_name(args.device),
        torch=torch.__version__,
        python=platform.python_version(),
        config=args.config,
        batch_size=best,
        gpus=args.gpus,
        learning_rate=rate,
        base_batch_size=base,
        peak_memory_mb=peaks[best],
        limit_mb=args.limit_mb,
        precision=numerics.precision,
        layout=numerics.layout,
        n=tries,
    )
    print(f'{report["device"]}, torch {torch.__version__}, {args.gpus} GPU(s)')
    for name, peak in peaks[best].items():
        print(f'  {"exit " + name if name.isdigit() else name:10}{peak:10.1f} MiB')
    print(f'largest batch: {best}' + (' (--max)' if best == candidates[-1] else ''))
    if rate is None:
        print("learning rate: the config's; it has no auto_scale_lr.base_batch_size")
    else:
        print(
            f'learning rate: {rate:g} = {cfg.optim_wrapper.optimizer.lr:g} x {best} x '
            f'{args.gpus} / {base}'
        )
        print(
            f'  --cfg-options train_dataloader.batch_size={best} '
            f'optim_wrapper.optimizer.lr={rate:g}'
        )
    if args.json:
        write_atomically(args.json, json.dumps(report, indent=2).encode())


def queue_len(cfg: Config) -> int | None:
    """Length of MoCo's queue, which batches have to divide; None without a queue."""
    if 'queue_len' in cfg.model:
        return cfg.model.queue_len
    kind = MODELS.get(cfg.model.type)
    default = inspect.signature(kind.__init__).parameters.get('queue_len')
    return None if default is None else default.default


def learning_rate(cfg: Config, total: int) -> tuple[int | None, float | None]:
    """Base batch of the config and its learning rate, scaled to another linearly."""
    base = cfg.get('auto_scale_lr', {}).get('base_batch_size')
    if base is None:
        return None, None
    return base, float(f'{cfg.optim_wrapper.optimizer.lr * total / base:.6g}')


if __name__ == '__main__':
    sys.exit(main())
