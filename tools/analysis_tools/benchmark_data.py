"""Measure how many views a second a config's data pipeline delivers.

Reported are views a second, views a second of processor time (of loader workers and
the process that collects), and the share of a training's time spent waiting for data.
What the data preprocessor does with the views on the device is timed on its own.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Callable

try:
    import mmaccel  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != 'mmaccel':
        raise
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a plain checkout

import torch
from mmaccel.engine.cli import Command
from mmengine.config import DictAction

from mmaccel.analysis import Spread, StepRunner
from mmaccel.analysis.device import device_name
from mmaccel.analysis.loading import Delivery, LoadingRunner, use_one_thread
from mmaccel.engine.config import load_config
from mmaccel.fileio import write_atomically

EXAMPLES = """examples:
  # upstream's pipeline and fast_views in turn, on one core, without a step
  python tools/analysis_tools/benchmark_data.py configs/accel/mocov2_r50_8xb32.py \\
      --images photos --compare --step-ms 0
  # how long a training with 16 workers waits for its data
  python tools/analysis_tools/benchmark_data.py configs/accel/mocov2_r50_8xb32.py \\
      --images photos --workers 16 --batch-size 256 --device cuda \\
      --cfg-options fast_views=True --json data.json
"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='pretraining config')
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        '--baseline',
        action='store_true',
        help="upstream's pipeline, whatever the config's fast_views says",
    )
    which.add_argument(
        '--compare',
        action='store_true',
        help="the config's pipeline with fast_views and without, in turn",
    )
    parser.add_argument(
        '--images', metavar='FOLDER', help="read these instead of the config's data"
    )
    parser.add_argument(
        '--workers',
        type=int,
        default=0,
        help='loader workers; 0, the default, loads in one process',
    )
    parser.add_argument('--batch-size', type=int, help="default: the config's")
    parser.add_argument(
        '--batches', type=int, default=8, help='batches a round; default: 8'
    )
    parser.add_argument('--rounds', type=int, default=5, help='default: 5')
    parser.add_argument(
        '--step-ms',
        type=float,
        help='milliseconds of a step, augmentation included; by default the '
        "config's step itself is run; 0 leaves the wait out",
    )
    parser.add_argument(
        '--device',
        default='cuda' if torch.cuda.is_available() else 'cpu',
        help='torch device; default: cuda if there is one',
    )
    parser.add_argument('--json', metavar='F', help='also write the figures to F')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, help='override settings'
    )
    args = parser.parse_args(argv)
    if args.device.startswith('cuda') and not torch.cuda.is_available():
        parser.error('no CUDA device here; use --device cpu')
    if args.rounds < 1 or args.batches < 2 or args.workers < 0:
        parser.error('--rounds must be at least 1, --batches 2 and --workers 0')
    return args


def main(argv: list[str] | None = None) -> int:
    """Measure, print and save; return the exit code."""
    args = parse_args(argv)
    return Command().run(lambda _: report(args))


def report(args: argparse.Namespace) -> None:
    """Measure, print and save."""
    use_one_thread()
    names = {'pipeline': False if args.baseline else None}
    if args.compare:
        names = {'pipeline': True, 'baseline': False}
    runners = {
        name: LoadingRunner(
            load_config(args.config, args.cfg_options),
            fast,
            args.images,
            args.batch_size,
            args.batches,
            args.workers,
            args.device,
        )
        for name, fast in names.items()
    }
    rounds: dict[str, list[Delivery]] = {name: [] for name in runners}
    for number in range(args.rounds + 1):
        for name, runner in runners.items():
            delivery = runner.deliver()
            if number:  # the first reads the files for the first time
                rounds[name].append(delivery)
    waits = {name: wait_shares(runner, args) for name, runner in runners.items()}

    main_runner = runners['pipeline']
    figures = {name: summary(rounds[name], waits[name], args) for name in runners}
    result = dict(
        device=device_name(args.device),
        torch=torch.__version__,
        config=args.config,
        fast_views=bool(main_runner.cfg.get('fast_views')),
        images=len(main_runner.dataset),
        batch_size=main_runner.batch_size,
        workers=args.workers,
        batches=args.batches,
        n=args.rounds,
        **figures['pipeline'],
    )
    if args.compare:
        result['baseline'] = figures['baseline']
        result['ratio'] = ratios(rounds, lambda d: d.views / d.cpu)
        result['ratio_all_in'] = None
        if args.device == 'cpu':
            result['ratio_all_in'] = ratios(rounds, all_in)
    show(result)
    if args.json:
        write_atomically(args.json, json.dumps(result, indent=2).encode())


def all_in(delivery: Delivery) -> float:
    """Views a second of one core that also augments and normalises."""
    return delivery.views / (delivery.cpu + delivery.augment)


def ratios(
    rounds: dict[str, list[Delivery]], figure: Callable[[Delivery], float]
) -> Spread:
    """How many times the baseline's figure, round by round."""
    pairs = zip(rounds['pipeline'], rounds['baseline'])
    return Spread([figure(ours) / figure(base) for ours, base in pairs])


def summary(
    rounds: list[Delivery], waits: list[float], args: argparse.Namespace
) -> dict:
    """Figures of one pipeline."""
    return dict(
        views_per_second=Spread([d.views / d.wall for d in rounds]),
        views_per_second_per_core=Spread([d.views / d.cpu for d in rounds]),
        wait_share=Spread(waits) if waits else None,
        augment_ms_per_view=Spread([1000 * d.augment / d.views for d in rounds]),
        all_in_views_per_second_per_core=(
            Spread([all_in(d) for d in rounds]) if args.device == 'cpu' else None
        ),
    )


def wait_shares(runner: LoadingRunner, args: argparse.Namespace) -> list[float]:
    """Share of waiting in each round; none without a step."""
    if args.step_ms == 0:
        return []
    if args.step_ms is not None:
        step: Callable[[], object] = lambda: time.sleep(args.step_ms / 1000)  # noqa: E731
    else:
        trained = StepRunner(runner.cfg, runner.batch_size, device=args.device)
        plans = [variant.plan for variant in trained.variants.values()]
        for plan in plans:
            trained.step(plan)  # warm up
        turn = iter(plans * args.rounds * args.batches)

        def step() -> None:
            trained.step(next(turn))

    return [runner.wait_share(step) for _ in range(args.rounds)]


def show(result: dict) -> None:
    """Print a table."""
    print(
        f'{result["device"]}, torch {result["torch"]}, {result["images"]} images, '
        f'batch {result["batch_size"]}, {result["workers"]} workers, n={result["n"]}'
    )
    rows = {
        'views/s': 'views_per_second',
        'views/s a core': 'views_per_second_per_core',
        'augment, ms a view': 'augment_ms_per_view',
        'all in, views/s a core': 'all_in_views_per_second_per_core',
        'wait share': 'wait_share',
    }
    groups = {'fast_views' if result['fast_views'] else 'pipeline': result}
    if 'baseline' in result:
        groups['baseline'] = result['baseline']
    for group, figures in groups.items():
        print(f'{group:24}{"median":>10}{"min":>10}{"max":>10}')
        for title, key in rows.items():
            if figures[key] is not None:
                print(f'  {title:22}' + _cells(figures[key]))
    for title, key in (('ratio a core', 'ratio'), ('ratio all in', 'ratio_all_in')):
        if result.get(key) is not None:
            print(f'{title:24}' + _cells(result[key]))


def _cells(spread: dict) -> str:
    return ''.join(f'{value:10.4g}' for value in spread.values())


if __name__ == '__main__':
    sys.exit(main())
