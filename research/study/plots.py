"""A study's pictures, and the numbers they are drawn from."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, UnidentifiedImageError

from mmaccel.errors import ConfigError
from mmaccel.evaluation.cached_features import hash_text
from mmaccel.evaluation.curves import Curve, average
from mmaccel.evaluation.time_accuracy_plot import (
    COLOURS,
    STYLE,
    add_legend,
    draw_curves,
    family_of,
    plot_time_accuracy,
)
from mmaccel.fileio import write_atomically

from .summary import ACCURACIES, Group, Groups

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_HASH = 'Description'  # one of PNG's own keywords
_DASHES = ('--', ':', '-.')  # of curves of others


@dataclass(frozen=True)
class Plot:
    """A picture that is known by its numbers, whatever draws it.

    Args:
        numbers (list): All that is drawn, labels included, as JSON has it.
        save (Callable): Writes the picture to a path with such metadata.
    """

    numbers: list
    save: Callable[[Path, dict], None]

    @property
    def hash(self) -> str:
        """Of the numbers, 16 hexadecimal digits."""
        rounded = json.loads(json.dumps(self.numbers), parse_float=_rounded)
        return hash_text(rounded)[:16]

    def draw(self, path: Path) -> None:
        """Write the picture; it says which numbers it shows and not what drew it."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, path.name)
            self.save(file, {'Software': None, _HASH: self.hash})
            write_atomically(path, file.read_bytes())

    def is_drawn(self, path: Path) -> bool:
        """Whether the file is a picture of these numbers."""
        try:
            with Image.open(path) as image:
                return image.info.get(_HASH) == self.hash
        except (OSError, UnidentifiedImageError):
            return False


def curves_plot(rows: Sequence[tuple[Group, str]]) -> Plot:
    """Accuracy on held-out images against training time, seeds as mean and range.

    Raises:
        ConfigError: If two groups have one label, or there are more than can be told
            apart.
    """
    _check_labels([label for _, label in rows])
    curves = mean_curves(rows)
    return Plot(
        ['curves', [_numbers(curve) for curve in curves]],
        lambda path, metadata: plot_time_accuracy(curves, path, metadata=metadata),
    )


def epochs_plot(
    rows: Sequence[tuple[Group, str]],
    published: Mapping[str, Mapping[float, float]] | None = None,
) -> Plot:
    """Accuracy on held-out images by epoch, beside curves of others.

    Args:
        rows (Sequence[tuple]): Groups and their labels.
        published (Mapping, optional): Label to accuracies (percent) by epoch, three at
            most.

    Raises:
        ConfigError: As of :func:`curves_plot`, or if there are more than three of
            others.
    """
    published = published or {}
    if len(published) > len(_DASHES):
        raise ConfigError(
            f'a picture has {len(_DASHES)} lines for published curves, not '
            f'{len(published)}; make two pictures'
        )
    _check_labels([label for _, label in rows], published)
    curves = mean_curves(rows)
    return Plot(
        [
            'epochs',
            [_numbers(curve) for curve in curves],
            [
                [label, *map(list, points.items())]
                for label, points in published.items()
            ],
        ],
        lambda path, metadata: _draw_epochs(curves, published, path, metadata),
    )


def mean_curves(rows: Sequence[tuple[Group, str]]) -> list[Curve]:
    """Mean over the seeds of each group that has finished runs; epochs for steps.

    Raises:
        ConfigError: If there is no finished run, or one without a curve.
    """
    curves = [
        average(_curve(record, label) for record in group.finished)
        for group, label in rows
        if group.n
    ]
    if not curves:
        raise ConfigError('there is no finished run to draw')
    return curves


def _check_labels(labels: Sequence[str], others: Iterable[str] = ()) -> None:
    both = [*labels, *others]
    twice = sorted({label for label in both if both.count(label) > 1})
    if twice:
        raise ConfigError(f'two curves are labelled {twice[0]!r}')
    if len({family_of(label)[0] for label in labels}) > len(COLOURS):
        raise ConfigError(
            f'a picture has {len(COLOURS)} colours; draw fewer groups (X and Accel-X '
            'share one) or make two pictures'
        )


def _numbers(curve: Curve) -> list:
    return [
        field.tolist() if isinstance(field, np.ndarray) else field for field in curve
    ]


def _draw_epochs(
    curves: Sequence[Curve],
    published: Mapping[str, Mapping[float, float]],
    path: Path,
    metadata: dict,
) -> None:
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot as plt

    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(4.6, 3.2), constrained_layout=True)
        for (label, points), dashes in zip(published.items(), _DASHES):
            axes.plot(
                list(points), list(points.values()), dashes, color='grey', label=label
            )
        draw_curves(axes, curves, [curve.step for curve in curves])
        axes.set_xlim(left=0)
        axes.set_xlabel('epoch')
        axes.set_ylabel('kNN top-1 accuracy (%)')
        add_legend(figure, axes)
        figure.savefig(path, dpi=200, metadata=metadata)
        plt.close(figure)


def frontier_plot(
    groups: Groups,
    rows: Sequence[tuple[Group, str]],
    lines: Sequence[Sequence[Group]],
    reference: str,
    accuracy: str = 'knn',
) -> Plot:
    """Final accuracy against training time relative to a reference's.

    Args:
        groups (Groups): The study's.
        rows (Sequence[tuple]): Groups to draw and their labels.
        lines (Sequence[Sequence]): Those of them to join, each line by time, such as
            baselines of several lengths: the frontier a method has to be above.
        reference (str): Group with the time 1; ``'*/baseline-200e'`` is the baseline
            of each method.
        accuracy (str): One of :data:`ACCURACIES`. Defaults to ``'knn'``.

    Raises:
        ConfigError: If a group has no such accuracy.
    """
    if accuracy not in ACCURACIES:
        raise ConfigError(
            f'there is no accuracy {accuracy}; there are {", ".join(ACCURACIES)}'
        )
    metric = ACCURACIES[accuracy]
    points = []
    for group, label in rows:
        if not group.n:
            continue
        against = groups.reference(reference, group)
        x = groups.relative_time(group, against)
        if x is None:
            raise ConfigError(f'the cost of a step of {group.name} is not known')
        y = group.mean(metric)
        cell = group.cell(metric)
        points.append(
            dict(name=group.name, label=label, x=x, y=y, std=cell and cell.std)
        )
    if not points:
        raise ConfigError('there is no finished run to draw')
    joined = [[group.name for group in line if group.n] for line in lines]
    return Plot(
        ['frontier', metric.heading, points, joined],
        lambda path, metadata: _draw_frontier(
            points, joined, metric.heading, path, metadata
        ),
    )


def _draw_frontier(
    points: list[dict], lines: list[list[str]], name: str, path: Path, metadata: dict
) -> None:
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot as plt

    methods = list(dict.fromkeys(_method(point) for point in points))
    joined = {name for line in lines for name in line}
    drawn = []  # lines as x and y, which labels are not to cover
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(6.4, 4.4), constrained_layout=True)
        for line in lines:
            ends = sorted((p['x'], p['y']) for p in points if p['name'] in line)
            if not ends:
                continue
            colour = COLOURS[methods.index(line[0].split('/')[0]) % len(COLOURS)]
            drawn.append(np.transpose(ends))
            axes.plot(*drawn[-1], '--', color=colour, linewidth=1.2, zorder=2)
        for point in points:
            colour = COLOURS[methods.index(_method(point)) % len(COLOURS)]
            axes.errorbar(
                point['x'],
                point['y'],
                yerr=point['std'],
                color=colour,
                marker='o',
                markersize=5,
                markerfacecolor='white' if point['name'] in joined else colour,
                elinewidth=0.8,
                capsize=2,
                zorder=3,
            )
            if point['std']:
                low, high = point['y'] - point['std'], point['y'] + point['std']
                drawn.append(np.array([[point['x']] * 2, [low, high]]))
        axes.margins(0.12, 0.08)
        axes.set_xlabel('training time relative to the reference')
        bars = ', bars: ± std' if any(point['std'] for point in points) else ''
        axes.set_ylabel(f'{name} (%{bars})')
        _name_points(figure, axes, points, drawn)
        figure.savefig(path, dpi=200, metadata=metadata)
        plt.close(figure)


def _name_points(
    figure: Figure, axes: Axes, points: list[dict], drawn: list[np.ndarray]
) -> None:
    """Write the label of every point beside it, those in a crowd first."""
    import textalloc

    figure.draw_without_rendering()  # settles the layout
    places = axes.transData.transform([(p['x'], p['y']) for p in points])
    apart = np.hypot(*np.moveaxis(places[:, None] - places, -1, 0))
    order = np.argsort(-(apart < 60).sum(0), kind='stable')  # pixels
    x, y, labels = ([points[i][name] for i in order] for name in ('x', 'y', 'label'))
    textalloc.allocate(
        axes,
        x,
        y,
        labels,
        x_scatter=x,
        y_scatter=y,
        x_lines=[line[0] for line in drawn],
        y_lines=[line[1] for line in drawn],
        textsize=7,
        margin=0.004,
        min_distance=0.014,
        linewidth=0.5,
        linecolor='#888888',
        avoid_label_lines_overlap=True,
    )


def _curve(record: dict, label: str) -> Curve:
    """A run's curve, its epochs for steps."""
    points = record['curve']
    if not points:
        raise ConfigError(f'{record["name"]} has no curve to draw')
    epoch, knn, seconds = (
        np.array([point[name] for point in points])
        for name in ('epoch', 'knn', 'seconds')
    )
    return Curve(label, 1, epoch, seconds, knn, knn, knn)


def _method(point: dict) -> str:
    return point['name'].split('/')[0]


def _rounded(text: str) -> float:
    return round(float(text), 4)  # the last digits of a mean depend on numpy
