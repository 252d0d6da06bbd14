"""Compare a baseline and its accelerated run: a table, a picture, the figures."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.append(str(Path(__file__).parent))
import _checkout  # noqa: F401, it finds mmaccel

from mmaccel.cli import start
from mmaccel.cli.command import Command, about, save
from mmaccel.errors import ConfigError

if TYPE_CHECKING:
    from mmaccel.evaluation.curves import Curve

EXAMPLES = """\
  python tools/quickstart_report.py work_dirs/quickstart/mocov2-8e \\
      work_dirs/quickstart/accel-mocov2-8e --out work_dirs/quickstart
"""
LABELS = ('MoCo v2 (upstream)', 'Accel-MoCo v2')


def summarize(work_dir: str, curve: Curve) -> dict:
    """Figures of one run.

    A step's time includes waiting for data. Each logged time is the mean of the steps
    since the line before, so that the exits are averaged before the median is taken.
    """
    import numpy as np

    from mmaccel.evaluation.curves import read_scalars

    records = read_scalars(work_dir)
    times = 1000 * np.array([r['time'] for r in records if 'time' in r and 'loss' in r])
    if len(times) == 0:
        raise ConfigError(f'{work_dir} has no logged step times; train it again')
    return {
        'work_dir': str(work_dir),
        'epochs': max(r['epoch'] for r in records if 'knn_top1' in r),
        'step_ms': {
            'median': float(np.median(times)),
            'min': float(times.min()),
            'max': float(times.max()),
        },
        'train_seconds': float(curve.seconds[-1]),
        'knn_top1': float(curve.mean[-1]),
        'knn_top1_untrained': float(curve.mean[0]) if curve.step[0] == 0 else None,
    }


def table(rows: list[dict], ratio: dict) -> str:
    """The figures for a reader."""
    line = '{:<20}{:>8}{:>16}{:>16}{:>15}'
    lines = [
        line.format('', 'epochs', 'step (median)', 'training time', 'kNN accuracy')
    ]
    for row in rows:
        minutes, seconds = divmod(round(row['train_seconds']), 60)
        lines.append(
            line.format(
                row['label'],
                row['epochs'],
                f'{row["step_ms"]["median"]:.0f} ms',
                f'{minutes}:{seconds:02d} min',
                f'{row["knn_top1"]:.1f} %',
            )
        )
    step, time = (f'{ratio[name]:.2f}' for name in ('step', 'train_seconds'))
    difference = f'{rows[1]["knn_top1"] - rows[0]["knn_top1"]:+.1f}'
    lines.append(line.format('ratio', '', step, time, difference))
    untrained = rows[0]['knn_top1_untrained']
    if untrained is not None:
        lines.append(f'The untrained network has a kNN accuracy of {untrained:.1f} %.')
    return '\n'.join(lines)


def report(work_dirs: list[str], out: Path) -> str:
    """Write picture and figures below ``out``; return the table."""
    import torch

    from mmaccel.evaluation.curves import read_curve
    from mmaccel.evaluation.time_accuracy_plot import plot_time_accuracy
    from mmaccel.hardware import processor_name

    curves = [
        read_curve(work_dir, label=label) for work_dir, label in zip(work_dirs, LABELS)
    ]
    rows = [
        {'label': curve.label, **summarize(work_dir, curve)}
        for work_dir, curve in zip(work_dirs, curves)
    ]
    ratio = {
        'step': rows[1]['step_ms']['median'] / rows[0]['step_ms']['median'],
        'train_seconds': rows[1]['train_seconds'] / rows[0]['train_seconds'],
    }
    figures = {
        'device': processor_name(),
        'torch': torch.__version__,
        'n': 1,
        'runs': rows,
        'ratio': ratio,
    }
    save(str(out / 'quickstart.json'), figures)
    plot_time_accuracy(curves, out / 'quickstart.png')
    return table(rows, ratio)


def main(argv: list[str] | None = None) -> int:
    """Compare and print; return the exit code."""
    parser = argparse.ArgumentParser(**about(__doc__, EXAMPLES))
    parser.add_argument('baseline', help="work directory of the baseline's run")
    parser.add_argument('accel', help="work directory of the accelerated form's run")
    parser.add_argument(
        '--out', type=Path, default=Path('.'), help='folder for picture and figures'
    )
    args = parser.parse_args(argv)

    def body(command: Command) -> None:
        start()
        print(f'\n{report([args.baseline, args.accel], args.out)}\n')
        print(f'Picture: {args.out / "quickstart.png"}')
        print(f'Figures: {args.out / "quickstart.json"}')

    return Command().run(body)


if __name__ == '__main__':
    sys.exit(main())
