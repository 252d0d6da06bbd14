"""Draw accuracy against training time from the logs of one or more runs."""

from __future__ import annotations

import argparse

from .command import save, shared

EXAMPLES = """\
  # a baseline and its accelerated form
  mmaccel plot work_dirs/mocov2 work_dirs/accel-mocov2 \\
      --labels "MoCo v2" "Accel-MoCo v2" --out figure3.png

  # two seeds of each: runs with one label become a mean and its range
  mmaccel plot work_dirs/a0 work_dirs/a1 work_dirs/b0 work_dirs/b1 \\
      --labels A A B B --out figure3.pdf --json figure3.json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        'work_dirs', nargs='+', metavar='WORK_DIR', help="a run's work directory"
    )
    parser.add_argument(
        '--out', required=True, metavar='F', help='picture to write (png, pdf or svg)'
    )
    parser.add_argument(
        '--labels',
        nargs='+',
        metavar='LABEL',
        help="one per run, by default the directory's name; runs with the same label "
        'are averaged, X and Accel-X share a colour',
    )
    parser.add_argument(
        '--metric',
        default='knn_top1',
        help='scalar to draw; it needs train_seconds beside it (default: knn_top1)',
    )
    shared(parser, '--json', help='also write the points to F')


def check(args: argparse.Namespace) -> None:
    """Reject another number of labels than of runs."""
    if args.labels and len(args.labels) != len(args.work_dirs):
        raise argparse.ArgumentTypeError(
            f'{len(args.labels)} labels for {len(args.work_dirs)} runs; give one per '
            'run'
        )


def run(args: argparse.Namespace) -> None:
    """Read, draw and save."""
    from mmaccel.evaluation.curves import Curve, average, read_curve
    from mmaccel.evaluation.time_accuracy_plot import plot_time_accuracy

    groups: dict[str, list[Curve]] = {}
    for i, work_dir in enumerate(args.work_dirs):
        label = args.labels[i] if args.labels else None
        curve = read_curve(work_dir, args.metric, label)
        groups.setdefault(curve.label, []).append(curve)
    curves = [average(group) for group in groups.values()]
    plot_time_accuracy(curves, args.out, args.metric)
    points = [
        {
            'label': curve.label,
            'n': curve.n,
            'step': curve.step.tolist(),
            'train_seconds': curve.seconds.tolist(),
            'mean': curve.mean.tolist(),
            'min': curve.min.tolist(),
            'max': curve.max.tolist(),
        }
        for curve in curves
    ]
    save(args.json, dict(metric=args.metric, work_dirs=args.work_dirs, curves=points))
    for curve in curves:
        print(
            f'{curve.label}: {args.metric} {curve.mean[-1]:.2f} after '
            f'{curve.seconds[-1]:.0f} s of training (runs: {curve.n})'
        )
    print(f'Wrote {args.out}')
