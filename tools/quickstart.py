"""Train MoCo v2 as upstream has it, as the paper has it, and with what won here.

tools/quickstart.sh calls this once environment and data are there.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import warnings
from collections import deque
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

sys.path.append(str(Path(__file__).parent))
import _checkout  # noqa: F401, it finds mmaccel

from mmaccel.cli import start
from mmaccel.cli.command import Command, about, at_least, load, save, setting
from mmaccel.errors import ConfigError, TrainingStopped

if TYPE_CHECKING:
    from mmengine.config import Config

    from mmaccel.evaluation.curves import Curve

EXAMPLES = """\
  python tools/quickstart.py --data data/fashion-mnist --work-dir work_dirs/quickstart
"""
MINUTES = 5.0  # of training; start-up and kNN accuracy take the rest of ten minutes
MOST_EPOCHS, FEWEST_EPOCHS = 8, 3
MEASURING_SECONDS = 20.0


class Training(NamedTuple):
    """One of the trainings: its folder, its name in the table and its config."""

    name: str
    label: str
    config: str


_ACCEL = 'configs/small/accel-mocov2_r18_fashion-mnist_quickstart'
TRAININGS = (
    Training(
        'mocov2',
        'MoCo v2 (upstream)',
        'configs/small/mocov2_r18_fashion-mnist_quickstart.py',
    ),
    Training('paper', 'the paper', f'{_ACCEL}.py'),
    Training('best', 'best', f'{_ACCEL}-best.py'),
)


def fit(minutes: float, settings: list[str]) -> dict[str, int]:
    """Epochs and images per epoch, so that all trainings end within the time.

    A few steps of each training and its loader are measured. Where not even
    ``FEWEST_EPOCHS`` fit, the epochs get shorter.

    Args:
        minutes (float): Time for all trainings together.
        settings (list[str]): Their settings, as ``--cfg-options`` takes them.
    """
    from mmaccel.analysis.budget import budget_report

    def read(path: str) -> Config:
        return load(argparse.Namespace(config=path, cfg_options=settings))

    path = TRAININGS[1].config
    with warnings.catch_warnings():  # the host reads the files so
        warnings.filterwarnings('ignore', 'The given NumPy array is not writable')
        report = budget_report(
            path, read(path), read, hours=minutes / 60, seconds=MEASURING_SECONDS
        )
    images = report['images_per_epoch']
    presets = report['presets']
    epochs = 1 / sum(1 / preset['epochs_in_time'] for preset in presets)
    whole = max(min(int(epochs), MOST_EPOCHS), FEWEST_EPOCHS)
    if epochs < whole:
        batch = max(preset['batch_size'] for preset in presets)
        images = max(int(images * epochs / whole) // batch, 1) * batch
    return {'epochs': whole, 'images': images}


def train(training: Training, work_dir: Path, settings: list[str]) -> None:
    """Train, or go on where the last epoch ended, and show the lines of epochs."""
    if (work_dir / 'finished').exists():
        say(f'{training.label}: finished before, used again ({work_dir})')
        return
    work_dir.mkdir(parents=True, exist_ok=True)
    log = work_dir / 'train.log'
    say(f'{training.label}: training, all output in {log}')
    python = os.environ.get('MMACCEL_PYTHON', sys.executable)
    command = [python, '-u', str(Path(__file__).with_name('train.py'))]
    command += [training.config, '--work-dir', str(work_dir), '--seed', '0', '--resume']
    process = subprocess.Popen(
        [*command, '--cfg-options', *settings],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    last: deque[str] = deque(maxlen=5)
    with open(log, 'a') as file, process:
        for line in process.stdout or ():
            file.write(line)
            last.append(line)
            found = re.search(r' - INFO - (Epoch\(.*)', line)
            if found:
                print(f'  {found[1]}', flush=True)
    if process.returncode:
        sys.stderr.writelines(last)
        raise TrainingStopped(
            f'{training.label} did not finish; all output is in {log}. The same '
            'command goes on where its last epoch ended.'
        )
    (work_dir / 'finished').touch()


def summarize(work_dir: Path, curve: Curve, baseline: Curve) -> dict:
    """Figures of one training.

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
        'label': curve.label,
        'work_dir': str(work_dir),
        'epochs': max(r['epoch'] for r in records if 'knn_top1' in r),
        'step_ms': {
            'median': float(np.median(times)),
            'min': float(times.min()),
            'max': float(times.max()),
        },
        'train_seconds': float(curve.seconds[-1]),
        'time_ratio': float(curve.seconds[-1] / baseline.seconds[-1]),
        'knn_top1': float(curve.mean[-1]),
        'knn_top1_untrained': float(curve.mean[0]) if curve.step[0] == 0 else None,
        'speedup': speedup(curve, baseline),
    }


def speedup(curve: Curve, baseline: Curve) -> str:
    """The time of the baseline until it has this accuracy, relative to this time.

    The baseline's accuracy is interpolated between its evaluations. Empty where this
    cannot be said: the run ends no better than untrained. A bound where it ends above
    everything that the baseline reaches.
    """
    if curve is baseline:
        return '1.00'
    reached, seconds = float(curve.mean[-1]), float(curve.seconds[-1])
    if reached <= baseline.mean[0]:
        return ''
    points = zip(baseline.seconds.tolist(), baseline.mean.tolist())
    for (before, low), (after, high) in pairwise(points):
        if high >= reached:
            at = before + (after - before) * (reached - low) / (high - low)
            return f'{at / seconds:.2f}'
    return f'> {baseline.seconds[-1] / seconds:.2f}'


def table(rows: list[dict]) -> str:
    """The figures for a reader."""
    line = '{:<20}{:>8}{:>16}{:>16}{:>12}{:>15}{:>11}'
    head = ('', 'epochs', 'step (median)', 'training time', 'relative')
    lines = [line.format(*head, 'kNN accuracy', 'speed-up')]
    for row in rows:
        minutes, seconds = divmod(round(row['train_seconds']), 60)
        lines.append(
            line.format(
                row['label'],
                row['epochs'],
                f'{row["step_ms"]["median"]:.0f} ms',
                f'{minutes}:{seconds:02d} min',
                f'{row["time_ratio"]:.2f}',
                f'{row["knn_top1"]:.1f} %',
                row['speedup'] or '-',
            )
        )
    lines.append(
        'Speed-up: the time after which the baseline has the same accuracy, relative '
        'to the training time. One seed.'
    )
    untrained = rows[0]['knn_top1_untrained']
    if untrained is not None:
        lines.append(f'The untrained network has a kNN accuracy of {untrained:.1f} %.')
    return '\n'.join(lines)


def report(work_dirs: list[Path], out: Path) -> str:
    """Write picture and figures below ``out``; return the table."""
    import torch

    from mmaccel.evaluation.curves import read_curve
    from mmaccel.evaluation.time_accuracy_plot import plot_time_accuracy
    from mmaccel.hardware import processor_name

    curves = [
        read_curve(work_dir, label=training.label)
        for work_dir, training in zip(work_dirs, TRAININGS)
    ]
    rows = [
        summarize(work_dir, curve, curves[0])
        for work_dir, curve in zip(work_dirs, curves)
    ]
    figures = {
        'device': processor_name(),
        'torch': torch.__version__,
        'n': 1,
        'runs': rows,
    }
    save(str(out / 'quickstart.json'), figures)
    plot_time_accuracy(curves, out / 'quickstart.png')
    return table(rows)


def say(text: str) -> None:
    """Print a line that is told from the trainings' own."""
    print(f'[quickstart] {text}', flush=True)


def _settings(data: str, options: list[str]) -> list[str]:
    prefixes = (
        'train_dataloader',
        'default_hooks.knn.train_dataloader',
        'default_hooks.knn.test_dataloader',
    )
    return [*(f'{p}.dataset.data_prefix={data}' for p in prefixes), *options]


def _length(plan: dict[str, int]) -> list[str]:
    epochs = plan['epochs']
    settings = [
        f'train_cfg.max_epochs={epochs}',
        f'param_scheduler.0.T_max={epochs}',
        f'param_scheduler.0.end={epochs}',
    ]
    if 'images' in plan:
        settings.append(f'train_dataloader.dataset.indices={plan["images"]}')
    return settings


def _plan(args: argparse.Namespace, settings: list[str]) -> dict[str, int]:
    """What was planned here before, what was asked for, or what fits."""
    if args.epochs:
        return {'epochs': args.epochs}
    file = args.work_dir / 'plan.json'
    if file.exists():
        plan = json.loads(file.read_text())
    else:
        say(f'Measuring a few steps, to fit three trainings into {MINUTES:g} minutes')
        plan = fit(MINUTES, settings)
        save(str(file), plan)
    say(
        f'{plan["epochs"]} epochs of {plan["images"]} images each fit into '
        f'{MINUTES:g} minutes of training ({file})'
    )
    return plan


def main(argv: list[str] | None = None) -> int:
    """Train and compare; return the exit code."""
    parser = argparse.ArgumentParser(**about(__doc__, EXAMPLES))
    parser.add_argument('--data', required=True, help='folder of the idx files')
    parser.add_argument('--work-dir', type=Path, required=True, help='for results')
    parser.add_argument(
        '--epochs', type=at_least(1), help='of each training; default: what fits'
    )
    parser.add_argument('options', nargs='*', type=setting, metavar='KEY=VALUE')
    args = parser.parse_args(argv)

    def body(command: Command) -> None:
        start()
        args.work_dir.mkdir(parents=True, exist_ok=True)
        settings = _settings(args.data, args.options)
        plan = _plan(args, settings)
        folders = [args.work_dir / f'{t.name}-{plan["epochs"]}e' for t in TRAININGS]
        for training, folder in zip(TRAININGS, folders):
            train(training, folder, [*_length(plan), *settings])
        print(f'\n{report(folders, args.work_dir)}\n')
        print(f'Picture: {args.work_dir / "quickstart.png"}')
        print(f'Figures: {args.work_dir / "quickstart.json"}')

    return Command().run(body)


if __name__ == '__main__':
    sys.exit(main())
