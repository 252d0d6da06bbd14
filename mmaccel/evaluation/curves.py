"""Curves from the logs of finished, running and resumed trainings."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mmaccel.errors import ConfigError

#: Why a log has no training time, and how to get it.
NO_TIME = (
    'Its log has no train_seconds: train with `mmaccel train`, which counts them by '
    "ThroughputHook for upstream's configs, too"
)
_KNN = (
    'KNNHook logs it: give its labelled images in default_hooks.knn, as '
    'configs/small/mocov2_r18_cifar10.py does, or another scalar with --metric'
)


class Curve(NamedTuple):
    """A metric against training time, of one run or the mean of several.

    ``label`` names it, ``n`` is the number of runs. ``step`` (iterations), ``seconds``
    (mean training time), ``mean``, ``min`` and ``max`` have one entry per evaluation.
    """

    label: str
    n: int
    step: np.ndarray
    seconds: np.ndarray
    mean: np.ndarray
    min: np.ndarray
    max: np.ndarray


def read_scalars(work_dir: str | Path) -> list[dict]:
    """All scalar records of a work directory, oldest first.

    ``tools/train.py`` writes one ``vis_data/scalars.json`` for a run and its
    continuations, upstream's script one per start, in folders named by their time.
    Incomplete lines of killed processes are skipped.

    Raises:
        ConfigError: If there is no log.
    """
    work_dir = Path(work_dir)
    files = sorted(work_dir.glob('*/vis_data/scalars.json'))
    files += work_dir.glob('vis_data/scalars.json')
    if not files:
        raise ConfigError(
            f'{work_dir} has no vis_data/scalars.json; name the --work-dir of a '
            'training whose visualizer has LocalVisBackend'
        )
    records = []
    for file in files:
        for line in file.read_text(errors='replace').splitlines():
            try:
                records.append(json.loads(line))
            except json.JSONDecodeError:
                continue
    return records


def read_curve(
    work_dir: str | Path, metric: str = 'knn_top1', label: str | None = None
) -> Curve:
    """A metric of one run against its training time.

    Where a run was resumed from an earlier position, the resumed run's records replace
    the earlier ones from there on. Positions are compared by epoch before step, since
    steps count anew where the number of iterations per epoch has changed.

    Args:
        work_dir (str or Path): The run's work directory.
        metric (str): Scalar with ``train_seconds`` beside it. Defaults to
            ``'knn_top1'``.
        label (str, optional): Defaults to the directory's name.

    Raises:
        ConfigError: If there is no log.
        ConfigError: If no record has the metric and its training time.
    """
    records = read_scalars(work_dir)
    points: list[tuple[int, float, float]] = []
    positions: list[tuple[int, int]] = []
    for record in records:
        if metric in record and 'train_seconds' in record:
            position = (record.get('epoch', 0), record['step'])
            while positions and positions[-1] >= position:
                positions.pop()
                points.pop()
            positions.append(position)
            points.append((record['step'], record['train_seconds'], record[metric]))
    if not points:
        _explain(work_dir, metric, records)
    step, seconds, value = (np.array(column) for column in zip(*points))
    label = Path(work_dir).resolve().name if label is None else label
    return Curve(label, 1, step, seconds, value, value, value)


def average(curves: Iterable[Curve]) -> Curve:
    """Mean, least and greatest value of runs with one label, at their common steps.

    Raises:
        ConfigError: If the runs have no step in common.
    """
    curves = list(curves)
    steps = sorted(set.intersection(*(set(c.step.tolist()) for c in curves)))
    if not steps:
        raise ConfigError(
            f'the runs labelled {curves[0].label!r} have no step in common and cannot '
            'be averaged; give them labels of their own'
        )
    at = [np.isin(c.step, steps) for c in curves]
    values = np.stack([c.mean[i] for c, i in zip(curves, at)])
    seconds = np.stack([c.seconds[i] for c, i in zip(curves, at)])
    return Curve(
        curves[0].label,
        len(curves),
        np.array(steps),
        seconds.mean(0),
        values.mean(0),
        values.min(0),
        values.max(0),
    )


def _explain(work_dir: str | Path, metric: str, records: list[dict]) -> None:
    names = sorted(set().union(*records)) if records else []
    if metric not in names:
        raise ConfigError(
            f'{work_dir} has no scalar {metric!r}; it has {", ".join(names) or "none"}'
            + (f'. {_KNN}' if metric == 'knn_top1' else '; give one with --metric')
        )
    raise ConfigError(
        f'{work_dir} has {metric!r} but no training time beside it. {NO_TIME}'
    )
