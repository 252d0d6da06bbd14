"""Names beside the points of a scatter, out of each other's way."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from matplotlib.axes import Axes
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

_DISTANCES = (6, 14, 24, 36, 50, 66)  # points
_STRAY = 40  # how much farther, not to seem another point's
_CLEAR = 3  # free of points around a label, less than the first distance
_FAR = 14  # from here on a thin line leads to the point
_DIRECTIONS = (0, 180, 90, 270, 45, 315, 135, 225)  # degrees, the best first


def place_labels(
    axes: Axes,
    points: Sequence[tuple[float, float]],
    labels: Sequence[str],
    obstacles: Sequence[tuple[float, float]] = (),
    size: float = 7,
) -> None:
    """Write a label beside every point where it covers the least.

    Each is tried in eight directions at growing distances and stays where it covers no
    other label and the fewest points, nearer to its own than to any other; one far from
    its point is joined with it.

    Args:
        axes (Axes): Drawn to completion but for the labels.
        points (Sequence[tuple]): x and y in data coordinates.
        labels (Sequence[str]): One a point.
        obstacles (Sequence[tuple]): Further points that are better not covered, such
            as those along a line.
        size (float): Of the letters, in points. Defaults to 7.
    """
    figure = axes.figure
    figure.canvas.draw()  # settles the layout, on which positions depend
    avoid = axes.transData.transform(np.array([*points, *obstacles]))
    marks = avoid[: len(points)]
    frame = axes.get_window_extent()
    unit = figure.dpi / 72
    taken: list[Bbox] = []
    for i, (point, label) in enumerate(zip(points, labels)):
        note = axes.annotate(
            label, point, (0, 0), textcoords='offset points', fontsize=size, zorder=5
        )
        note.set_in_layout(False)
        costs = {}
        for distance, degrees in product(_DISTANCES, _DIRECTIONS):
            box = _move(note, distance, degrees)
            covered = _cost(box, taken, avoid, frame, unit)
            stray = distance < _FAR and _gaps(box, marks).argmin() != i
            costs[distance, degrees] = covered + (distance + _STRAY * stray) * unit
        distance, degrees = min(costs, key=lambda place: costs[place])
        taken.append(_move(note, distance, degrees).padded(unit))
        if distance >= _FAR:
            _lead(axes, point, note.xyann)


def _move(note: Annotation, distance: float, degrees: float) -> Bbox:
    """Put a label at a distance of its point; return what it covers, in pixels."""
    x = distance * np.cos(np.deg2rad(degrees))
    y = distance * np.sin(np.deg2rad(degrees))
    note.xyann = (x, y)
    note.set_horizontalalignment('left' if x > 1 else 'right' if x < -1 else 'center')
    note.set_verticalalignment('bottom' if y > 1 else 'top' if y < -1 else 'center')
    return note.get_window_extent()


def _lead(axes: Axes, point: tuple[float, float], offset: tuple[float, float]) -> None:
    """Draw a thin line from a point to its label."""
    line = axes.annotate(
        '',
        point,
        offset,
        textcoords='offset points',
        arrowprops=dict(arrowstyle='-', lw=0.5, color='#888888', shrinkA=0, shrinkB=3),
        zorder=2,
    )
    line.set_in_layout(False)


def _gaps(box: Bbox, marks: np.ndarray) -> np.ndarray:
    """Distance of every point from a label, in pixels."""
    beyond = np.maximum(np.maximum(box.min - marks, marks - box.max), 0)
    return np.hypot(*beyond.T)


def _cost(
    box: Bbox, taken: list[Bbox], avoid: np.ndarray, frame: Bbox, unit: float
) -> float:
    """What a label would cover: labels and the frame weigh more than points."""
    near = box.padded(_CLEAR * unit)
    inside = ((avoid >= near.min) & (avoid <= near.max)).all(1)
    over = 0.0
    for other in taken:
        shared = Bbox.intersection(box, other)
        over += 0 if shared is None else shared.width * shared.height
    beyond = max(box.x1 - frame.x1, frame.x0 - box.x0, 0)
    beyond += max(box.y1 - frame.y1, frame.y0 - box.y0, 0)
    return 100 * over + 100 * beyond + 60 * float(inside.sum())
