"""Measure how many views per second a config's data pipeline delivers.

Reported are views per second, views per second of processor time (of loader workers and
the process that collects), and the share of a training's time spent waiting for data.
What the data preprocessor does with the views on the device is timed on its own.
"""

from __future__ import annotations

import argparse

from .command import at_least, load, save, shared

EXAMPLES = """\
  # upstream's pipeline and fast_views in turn, on one core, without a step
  mmaccel data configs/accel/mocov2_r50_8xb32.py --images photos --compare --step-ms 0
  # how long a training with 16 workers waits for its data
  mmaccel data configs/accel/mocov2_r50_8xb32.py --images photos --workers 16 \\
      --batch-size 256 --device cuda --cfg-options fast_views=True --json data.json
"""
_ROWS = {
    'views/s': 'views_per_second',
    'views/s per core': 'views_per_second_per_core',
    'augment, ms per view': 'augment_ms_per_view',
    'all in, views/s per core': 'all_in_views_per_second_per_core',
    'wait share': 'wait_share',
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    shared(parser, 'config')
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
        type=at_least(0),
        default=0,
        help='loader workers; 0, the default, loads in one process',
    )
    shared(parser, '--batch-size', type=int, help="default: the config's")
    parser.add_argument(
        '--batches', type=at_least(2), default=8, help='batches per round; default: 8'
    )
    parser.add_argument('--rounds', type=at_least(1), default=5, help='default: 5')
    parser.add_argument(
        '--step-ms',
        type=float,
        help='milliseconds of a step, augmentation included; by default the '
        "config's step itself is run; 0 leaves the wait out",
    )
    shared(parser, '--device', '--json', '--cfg-options')


def run(args: argparse.Namespace) -> None:
    """Measure, print and save."""
    from mmaccel.analysis.loading import loading_report
    from mmaccel.hardware import choose_device

    args.device = choose_device(args.device)
    names = {'pipeline': False if args.baseline else None}
    if args.compare:
        names = {'pipeline': True, 'baseline': False}
    report = loading_report(
        args.config,
        lambda: load(args),
        names,
        args.rounds,
        args.step_ms,
        images=args.images,
        batch_size=args.batch_size,
        batches=args.batches,
        workers=args.workers,
        device=args.device,
    )
    print(
        f'{report["device"]}, torch {report["torch"]}, {report["images"]} images, '
        f'batch {report["batch_size"]}, {report["workers"]} workers, n={report["n"]}'
    )
    groups = {'fast_views' if report['fast_views'] else 'pipeline': report}
    if 'baseline' in report:
        groups['baseline'] = report['baseline']
    for group, figures in groups.items():
        print(f'{group:26}{"median":>10}{"min":>10}{"max":>10}')
        for title, key in _ROWS.items():
            if figures[key] is not None:
                print(f'  {title:24}' + _cells(figures[key]))
    for title, key in (('ratio per core', 'ratio'), ('ratio all in', 'ratio_all_in')):
        if report.get(key) is not None:
            print(f'{title:26}' + _cells(report[key]))
    save(args.json, report)


def _cells(figure: dict) -> str:
    return ''.join(f'{value:10.4g}' for value in figure.values())
