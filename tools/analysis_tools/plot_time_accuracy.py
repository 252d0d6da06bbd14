"""Draw accuracy against training time from the logs of one or more runs."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

try:
    import mmaccel  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != 'mmaccel':
        raise
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a plain checkout

from mmaccel.evaluation.curves import Curve, average, read_curve
from mmaccel.evaluation.time_accuracy_plot import plot_time_accuracy

EXAMPLES = """
examples:
  # a baseline and its accelerated form
  python tools/analysis_tools/plot_time_accuracy.py work_dirs/mocov2 \\
      work_dirs/accel-mocov2 --labels "MoCo v2" "Accel-MoCo v2" --out figure3.png

  # two seeds of each: runs with one label become a mean and its range
  python tools/analysis_tools/plot_time_accuracy.py work_dirs/a0 work_dirs/a1 \\
      work_dirs/b0 work_dirs/b1 --labels A A B B --out figure3.pdf --json figure3.json
"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
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
        help="one a run, by default the directory's name; runs with the same label "
        'are averaged, X and Accel-X share a colour',
    )
    parser.add_argument(
        '--metric',
        default='knn_top1',
        help='scalar to draw; it needs train_seconds beside it (default: knn_top1)',
    )
    parser.add_argument('--json', metavar='F', help='also write the points to F')
    args = parser.parse_args(argv)
    if args.labels and len(args.labels) != len(args.work_dirs):
        parser.error(
            f'{len(args.labels)} labels for {len(args.work_dirs)} runs; give one a run'
        )
    return args


def collect(args: argparse.Namespace) -> list[Curve]:
    """One curve a label, in the order the labels appear."""
    groups: dict[str, list[Curve]] = {}
    for i, work_dir in enumerate(args.work_dirs):
        label = args.labels[i] if args.labels else None
        curve = read_curve(work_dir, args.metric, label)
        groups.setdefault(curve.label, []).append(curve)
    return [average(group) for group in groups.values()]


def as_json(args: argparse.Namespace, curves: list[Curve]) -> dict:
    """The points that are drawn."""
    return {
        'metric': args.metric,
        'work_dirs': args.work_dirs,
        'curves': [
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
        ],
    }


def main(argv: list[str] | None = None) -> int:
    """Read, draw and save; return the exit code."""
    args = parse_args(argv)
    try:
        curves = collect(args)
        plot_time_accuracy(curves, args.out, args.metric)
    except (OSError, KeyError, ValueError) as error:
        reason = error.args[0] if isinstance(error, KeyError) else error
        print(f'error: {reason}', file=sys.stderr)
        return 1
    if args.json:
        Path(args.json).write_text(json.dumps(as_json(args, curves), indent=2) + '\n')
    for curve in curves:
        print(
            f'{curve.label}: {args.metric} {curve.mean[-1]:.2f} after '
            f'{curve.seconds[-1]:.0f} s of training (runs: {curve.n})'
        )
    print(f'Wrote {args.out}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
