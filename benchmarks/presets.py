"""What the presets of each recipe cost: operations, and their steps' time here.

Presets are a config, its baseline and its siblings (`-exact`, `-freeze`, `-best`).
Their steps are timed in turn and weighted by their schedules. research/report.py makes
a table of the figures.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.append(str(Path(__file__).resolve().parents[1] / 'tools'))
import _checkout  # noqa: F401, arguments are read before mmaccel starts

from mmaccel.cli import start
from mmaccel.cli.command import Command, about, at_least, save, shared

if TYPE_CHECKING:
    from mmengine.config import Config

EXAMPLES = """\
  python benchmarks/presets.py --json benchmarks/results/presets.json
  python benchmarks/presets.py --rounds 0 --json operations-only.json
"""
SMALL, LARGE = 64, 8  # images of a step on CIFAR-10 or Fashion-MNIST, and on ImageNet
RECIPES = {
    'configs/accel/mocov1_r50_8xb32.py': LARGE,
    'configs/accel/mocov2_r50_8xb32.py': LARGE,
    'configs/accel/simclr_r50_8xb32.py': LARGE,
    'configs/accel/swav_r50_8xb32.py': LARGE,
    'configs/accel/swav_r50_8xb32-mcrop-2-4-160-96.py': LARGE,
    'configs/small/accel-mocov2_r18_cifar10.py': SMALL,
    'configs/small/accel-simclr_r18_cifar10.py': SMALL,
    'configs/small/accel-mocov1_r18_cifar10.py': SMALL,
    'configs/small/accel-swav_r18_cifar10.py': SMALL,
    'configs/small/accel-mocov2_r18_fashion-mnist.py': SMALL,
}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(**about(__doc__, EXAMPLES))
    parser.add_argument(
        'configs',
        nargs='*',
        default=list(RECIPES),
        metavar='CONFIG',
        help='recipes, without the suffix of a preset (default: all of them)',
    )
    parser.add_argument(
        '--rounds',
        type=at_least(0),
        default=7,
        metavar='N',
        help='of timed steps; 0 counts operations only (default: %(default)s)',
    )
    shared(parser, '--batch-size', default=None, help='default: 8, small recipes 64')
    shared(parser, '--device', default='cpu', help='default: %(default)s')
    shared(parser, '--threads')
    shared(parser, '--json', required=True, help='file for the figures')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Measure, print and save; return the exit code."""
    args = parse_args(argv)
    start()
    return Command().run(lambda _: report(args))


def report(args: argparse.Namespace) -> None:
    """Measure recipe by recipe; the file holds those that are done."""
    import torch

    from mmaccel.analysis.device import device_name

    if args.threads:
        torch.set_num_threads(args.threads)
    figures: dict = dict(
        device=device_name(args.device),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        rounds=args.rounds,
        recipes={},
    )
    for path in args.configs:
        batch_size = args.batch_size or RECIPES.get(path, LARGE)
        rows = measure(path, batch_size, args.rounds, args.device)
        figures['recipes'][path] = dict(batch_size=batch_size, presets=rows)
        for row in rows:
            time = f'{row["time"]["median"]:.3f}' if row['time'] else '-'
            print(f'{row["operations"]:.3f} {time:>6}  {row["config"]}')
        save(args.json, figures)


def macs(cfg: Config) -> float:
    """Multiply-accumulate operations per image, expected over what an update may do."""
    from mmaccel.analysis.cost import costs_of_updates

    probs, costs = costs_of_updates(cfg)
    return sum(
        p * (costs[name]['forward'] + costs[name]['backward'])
        for name, p in probs.items()
    )


def measure(path: str, batch_size: int, rounds: int, device: str) -> list[dict]:
    """Cost of a recipe's presets relative to its baseline, which is the first row."""
    from mmaccel.analysis.budget import find_presets, time_presets
    from mmaccel.analysis.measure import ratios
    from mmaccel.engine.config import load_config

    presets = find_presets(path, load_config(path), load_config)
    counts = [macs(preset.cfg) for preset in presets]
    times = time_presets(presets, device, batch_size, rounds) if rounds else None
    return [
        dict(
            name=preset.name,
            config=preset.path,
            operations=round(counts[i] / counts[0], 4),
            time=ratios(times[i], times[0]) if times else None,
        )
        for i, preset in enumerate(presets)
    ]


if __name__ == '__main__':
    sys.exit(main())
