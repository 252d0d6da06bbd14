"""Plots of accuracy against training time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .curves import Curve
from .picture_text import legend_text, text_style

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Okabe and Ito's colours, which colour-blind readers can distinguish.
COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#000000')
#: matplotlib's settings for this plot and those beside it.
STYLE = {
    'font.size': 9,
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.grid': True,
    'grid.color': '#e6e6e6',
    'axes.axisbelow': True,
    'legend.frameon': False,
}
_MARKERS = 'osD^vP*'
_UNITS = ((2 * 86400, 86400, 'days'), (2 * 3600, 3600, 'hours'), (180, 60, 'minutes'))
_NAMES = {'knn_top1': 'kNN top-1 accuracy (%)'}


def plot_time_accuracy(
    curves: Sequence[Curve],
    out: str | Path,
    metric: str = 'knn_top1',
    metadata: Mapping[str, str | None] | None = None,
) -> None:
    """Draw curves like figure 3 of the paper.

    Of several runs, ``n`` is their number, the line their mean and the band their
    range. A method and its accelerated form, labelled ``X`` and ``Accel-X``, have one
    colour; the accelerated one is solid, the other dashed.

    Args:
        curves (Sequence[Curve]): At least one.
        out (str or Path): File to write; its ending chooses the format.
        metric (str): Their metric, for the label of the axis.
        metadata (Mapping, optional): The file's metadata, as for matplotlib's
            ``savefig``. By default matplotlib's.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    longest = max(curve.seconds.max() for curve in curves)
    unit, name = next(
        ((unit, name) for above, unit, name in _UNITS if longest >= above),
        (1, 'seconds'),
    )
    texts = [_legend(curve) for curve in curves]
    with rc_context({**STYLE, **text_style([*texts, metric])}):
        figure = Figure(figsize=(4.6, 3.2), layout='constrained')
        axes = figure.subplots()
        draw_curves(axes, curves, [curve.seconds / unit for curve in curves])
        axes.set_xlabel(f'training time ({name})')
        axes.set_ylabel(_NAMES.get(metric, metric))
        axes.set_xlim(left=0)
        add_legend(figure, axes)
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(out, dpi=200, metadata=metadata)


def draw_curves(
    axes: Axes, curves: Sequence[Curve], positions: Sequence[np.ndarray]
) -> None:
    """Draw curves in their methods' colours, with bands and labels.

    Args:
        axes (Axes): matplotlib's.
        curves (Sequence[Curve]): What to draw.
        positions (Sequence[np.ndarray]): Of each curve's points along x.
    """
    families = list(dict.fromkeys(family_of(curve.label)[0] for curve in curves))
    for curve, x in zip(curves, positions):
        family, accel = family_of(curve.label)
        number = families.index(family)
        colour = COLOURS[number % len(COLOURS)]
        paired = len({c.label for c in curves if family_of(c.label)[0] == family}) > 1
        if curve.n > 1:
            axes.fill_between(
                x, curve.min, curve.max, color=colour, alpha=0.15, linewidth=0
            )
        axes.plot(
            x,
            curve.mean,
            color=colour,
            label=_legend(curve),
            linewidth=1.6,
            linestyle='--' if paired and not accel else '-',
            marker=_MARKERS[number % len(_MARKERS)],
            markerfacecolor='white' if paired and not accel else colour,
            markersize=4 if len(x) <= 30 else 0,
            clip_on=False,
            zorder=3,
        )


def add_legend(figure: Figure, axes: Axes) -> None:
    """Add the legend: within the axes, or above them where curves are many.

    Args:
        figure (Figure): matplotlib's; it grows by a legend above its axes.
        axes (Axes): Its axes, with all curves drawn.
    """
    style = dict(handlelength=2.8, fontsize=8)
    count = len(axes.get_legend_handles_labels()[0])
    if count <= 4:
        axes.legend(loc='best', **style)
        return
    figure.set_figheight(figure.get_figheight() + 0.2 * ((count + 1) // 2))
    axes.legend(loc='lower center', bbox_to_anchor=(0.5, 1), ncol=2, **style)


def family_of(label: str) -> tuple[str, bool]:
    """A label without ``Accel-`` and whether it had it, in any case."""
    accel = label.lower().startswith('accel-')
    return (label[len('accel-') :] if accel else label).lower(), accel


def _legend(curve: Curve) -> str:
    several = f' (n={curve.n})' if curve.n > 1 else ''
    return legend_text(curve.label) + several
