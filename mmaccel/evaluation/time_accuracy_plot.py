"""The picture of accuracy against training time."""

from __future__ import annotations

from pathlib import Path
from typing import Sequence

from .curves import Curve

# Okabe and Ito's colours, which colour-blind readers tell apart
_COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#000000')
_MARKERS = 'osD^vP*'
_UNITS = ((2 * 86400, 86400, 'days'), (2 * 3600, 3600, 'hours'), (180, 60, 'minutes'))
_NAMES = {'knn_top1': 'kNN top-1 accuracy (%)'}


def plot_time_accuracy(
    curves: Sequence[Curve], out: str | Path, metric: str = 'knn_top1'
) -> None:
    """Draw curves as figure 3 of the paper does, with a band where runs are several.

    Args:
        curves (Sequence[Curve]): At least one.
        out (str or Path): File to write; its ending chooses the format.
        metric (str): Their metric, for the label of the axis.
    """
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot as plt

    longest = max(curve.seconds.max() for curve in curves)
    unit, name = next(
        ((unit, name) for above, unit, name in _UNITS if longest >= above),
        (1, 'seconds'),
    )
    style = {
        'font.size': 9,
        'axes.spines.top': False,
        'axes.spines.right': False,
        'axes.grid': True,
        'grid.color': '#e6e6e6',
        'axes.axisbelow': True,
        'legend.frameon': False,
    }
    with plt.rc_context(style):
        figure, axes = plt.subplots(figsize=(4.6, 3.2), constrained_layout=True)
        for i, curve in enumerate(curves):
            colour = _COLOURS[i % len(_COLOURS)]
            x = curve.seconds / unit
            label = curve.label
            if curve.n > 1:
                label += f' ({curve.n} runs: mean, range)'
                axes.fill_between(
                    x, curve.min, curve.max, color=colour, alpha=0.18, linewidth=0
                )
            axes.plot(
                x,
                curve.mean,
                color=colour,
                label=label,
                linewidth=1.6,
                marker=_MARKERS[i % len(_MARKERS)],
                markersize=4 if len(x) <= 30 else 0,
                clip_on=False,
                zorder=3,
            )
        axes.set_xlabel(f'training time ({name})')
        axes.set_ylabel(_NAMES.get(metric, metric))
        axes.set_xlim(left=0)
        axes.legend(loc='best')
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(out, dpi=200)
        plt.close(figure)
