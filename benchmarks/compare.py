"""Time training steps of upstream MMSelfSup, lightly and this package, side by side.

MoCo v2 and SimCLR on the same images, batch, network and device, one process, in turn:
each round runs every row once (ours: every exit once), so that all see the machine in
the same state. Images are synthetic and lie on the device; loading is left out. Every
step includes its optimizer, SGD for MoCo v2 and LARS for SimCLR. Upstream as shipped is
the baseline of every row; the others share one precision and layout.
"""

from __future__ import annotations

import argparse
import gc
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.append(str(Path(__file__).resolve().parents[1] / 'tools'))
import _checkout  # noqa: F401, arguments are read before mmaccel starts

from mmaccel.cli import start
from mmaccel.cli.command import Command, about, at_least, save, shared

if TYPE_CHECKING:
    from mmengine.config import Config

EXAMPLES = """\
  python benchmarks/compare.py --device cpu --batch-size 8 --rounds 5 --json cpu.json
  python benchmarks/compare.py --device cuda --batch-size 256 --precision bf16 \\
      --rounds 30 --json cuda.json
  python benchmarks/compare.py --device cpu --depth 18 --size 32 --methods mocov2 \\
      --json compare.json
"""
CONFIGS = {
    'mocov2': 'configs/accel/mocov2_r50_8xb32.py',
    'simclr': 'configs/accel/simclr_r50_8xb32.py',
}
SHIPPED, ALIKE, PEER = 'upstream as shipped', 'upstream, alike', 'lightly'
#: Ours, by what differs from the paper's preset.
OURS: dict[str, dict[str, dict[str, Any]]] = {
    'mocov2': {
        'ours': {},
        'ours, truncated keys': {'model.key_forward': 'truncated'},
        'ours, cumulative': {'model.loss_on': 'cumulative'},
    },
    'simclr': {
        'ours': {},
        'ours, cumulative': {'model.loss_on': 'cumulative'},
    },
}
CHANNELS = {18: (64, 128, 256, 512), 50: (256, 512, 1024, 2048)}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(**about(__doc__, EXAMPLES))
    parser.add_argument(
        '--methods',
        nargs='+',
        choices=tuple(CONFIGS),
        default=list(CONFIGS),
        help='default: all',
    )
    shared(parser, '--device', '--threads')
    shared(parser, '--batch-size', default=8)
    parser.add_argument(
        '--size', type=int, default=224, help='side of the views; default: 224'
    )
    parser.add_argument(
        '--depth',
        type=int,
        choices=tuple(CHANNELS),
        default=50,
        help='of the ResNet; default: 50',
    )
    shared(
        parser,
        '--precision',
        help='of all rows but upstream as shipped; default: bf16 on CUDA, else fp32',
    )
    parser.add_argument(
        '--layout',
        choices=('contiguous', 'channels_last'),
        default='channels_last',
        help='of all rows but upstream as shipped; default: channels_last',
    )
    parser.add_argument('--rounds', type=at_least(1), default=10, help='default: 10')
    parser.add_argument('--warmup', type=at_least(0), default=2, help='default: 2')
    parser.add_argument(
        '--json',
        metavar='F',
        required=True,
        help='file to write; those of docs/performance.md are in benchmarks/results',
    )
    return parser.parse_args(argv)


def complete(args: argparse.Namespace) -> None:
    """Settle what depends on the machine.

    Raises:
        ConfigError: If there is no such device.
    """
    from mmaccel.hardware import choose_device

    args.device = choose_device(args.device)
    cuda = args.device.startswith('cuda')
    if args.precision is None:
        args.precision = 'bf16' if cuda else 'fp32'


def main(argv: list[str] | None = None) -> int:
    """Compare, print and save; return the exit code."""
    args = parse_args(argv)
    start()
    return Command().run(lambda _: compare(args))


def compare(args: argparse.Namespace) -> None:
    """Compare, print and save."""
    import mmengine
    import mmselfsup
    import torch
    import torchvision

    from benchmarks.lightly_step import lightly_version
    from mmaccel.analysis.device import device_name
    from mmaccel.version import __version__

    complete(args)
    if args.threads:
        torch.set_num_threads(args.threads)
    rows: list[dict] = []
    for method in args.methods:
        rows += compare_method(method, args)
        gc.collect()  # one method's models before the next one's
    report = dict(
        device=device_name(args.device),
        torch=torch.__version__,
        torchvision=torchvision.__version__,
        mmengine=mmengine.__version__,
        mmselfsup=mmselfsup.__version__,
        lightly=lightly_version(),
        mmaccel=__version__,
        python=platform.python_version(),
        config={method: CONFIGS[method] for method in args.methods},
        batch_size=args.batch_size,
        size=args.size,
        depth=args.depth,
        n=args.rounds,
        rows=rows,
    )
    save(args.json, report)
    print(markdown(report))
    print(f'\nwritten to {args.json}')


def compare_method(method: str, args: argparse.Namespace) -> list[dict]:
    """Time one method's rows in turn.

    Returns:
        list[dict]: Upstream as shipped first; ratios to it and to upstream alike.
    """
    from benchmarks.lightly_step import LIGHTLY, LightlyRunner, lightly_version
    from mmaccel.analysis import MedianRange, Numerics, StepRunner
    from mmaccel.analysis.measure import Timed, ratios, time_steps
    from mmaccel.analysis.memory import peak_memory_mb
    from mmaccel.engine.config import load_config

    where = dict(batch_size=args.batch_size, size=args.size, device=args.device)
    same = Numerics(args.precision, args.layout)
    path = CONFIGS[method]
    base_cfg = with_depth(load_config(load_config(path).baseline), args.depth)
    runners: dict[str, Any] = {
        SHIPPED: StepRunner(base_cfg, **where),
        ALIKE: StepRunner(base_cfg, **where, numerics=same),
    }
    images = runners[SHIPPED].images
    if lightly_version() is not None:
        runners[PEER] = LightlyRunner(base_cfg, images, runners[ALIKE].numerics)
    for name, options in OURS[method].items():
        cfg = with_depth(load_config(path, options), args.depth)
        runners[name] = StepRunner(cfg, **where, numerics=same)
    for runner in runners.values():
        if isinstance(runner, StepRunner):
            runner.images = images

    variants = {
        name: [
            (f'{name}/{exit_name}', p, plan)
            for exit_name, (p, plan) in getattr(
                runner, 'variants', {'step': (1.0, None)}
            ).items()
        ]
        for name, runner in runners.items()
    }
    timed = [
        Timed(label, runners[name], plan)
        for name, exits in variants.items()
        for label, _, plan in exits
    ]
    times = time_steps(timed, args.rounds, args.warmup)
    expected = {
        name: [
            sum(p * times[label][i] for label, p, _ in exits)
            for i in range(args.rounds)
        ]
        for name, exits in variants.items()
    }
    rows: list[dict[str, Any]] = []
    for name in (SHIPPED, ALIKE, PEER, *OURS[method]):
        if name not in runners:
            note = f'not installed; `pip install lightly=={LIGHTLY}`'
            rows.append(dict(method=method, name=name, step_ms=None, note=note))
            continue
        peaks = {
            label.partition('/')[2]: peak_memory_mb(runners[name], plan)
            for label, _, plan in variants[name]
        }
        known = [peak for peak in peaks.values() if peak is not None]
        rows.append(
            dict(
                method=method,
                name=name,
                precision=runners[name].numerics.precision,
                layout=runners[name].numerics.layout,
                n=args.rounds,
                step_ms=MedianRange(expected[name]),
                exit_ms={
                    label.partition('/')[2]: MedianRange(times[label])
                    for label, _, _ in variants[name]
                },
                exit_probs={
                    label.partition('/')[2]: p for label, p, _ in variants[name]
                },
                ratio=ratios(expected[name], expected[SHIPPED]),
                ratio_alike=ratios(expected[name], expected[ALIKE]),
                peak_memory_mb=max(known) if known else None,
            )
        )
    return rows


def with_depth(cfg: Config, depth: int) -> Config:
    """Give a config another ResNet and the neck that fits it."""
    cfg.model.backbone.depth = depth
    every = isinstance(cfg.model.neck.in_channels, (tuple, list))
    cfg.model.neck.in_channels = CHANNELS[depth] if every else CHANNELS[depth][-1]
    return cfg


def markdown(report: dict) -> str:
    """Table of a report, to be pasted where figures are shown."""
    versions = ', '.join(
        f'{name} {report[name] or "not installed"}'
        for name in ('torch', 'torchvision', 'mmselfsup', 'lightly', 'mmaccel')
    )
    lines = [
        f'{report["device"]}; ResNet-{report["depth"]}, {report["size"]} px, batch '
        f'{report["batch_size"]}, n={report["n"]}; median (min–max); {versions}',
        '',
        '| | | precision, layout | step, ms | of upstream as shipped | of upstream '
        'alike | peak, MiB |',
        '|---|---|---|---|---|---|---|',
    ]
    for row in report['rows']:
        if row['step_ms'] is None:
            lines.append(f'| {row["method"]} | {row["name"]} | | {row["note"]} | | | |')
            continue
        peak = row['peak_memory_mb']
        lines.append(
            f'| {row["method"]} | {row["name"]} '
            f'| {row["precision"]}, {row["layout"]} '
            f'| {_range(row["step_ms"], 1)} | {_range(row["ratio"], 2)} '
            f'| {_range(row["ratio_alike"], 2)} '
            f'| {"" if peak is None else f"{peak:.0f}"} |'
        )
    return '\n'.join(lines)


def _range(spread: dict, digits: int) -> str:
    low, middle, high = (
        f'{spread[key]:.{digits}f}' for key in ('min', 'median', 'max')
    )
    return f'{middle} ({low}–{high})'


if __name__ == '__main__':
    sys.exit(main())
