"""The picture of research/study/gradients.py: one table of cosines per comparison."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmaccel.errors import ConfigError

from .plots import Plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PANELS = {
    'same_images': 'cosine with the whole network on the same images and views',
    'other_images': 'cosine with the whole network on other images; its own row is the '
    'ceiling',
}


def read_gradients(path: str | Path) -> dict[str, Any]:
    """Read what research/gradients.py wrote with ``--json``.

    Raises:
        ConfigError: If there is no such file, or it is not one of these.
    """
    try:
        found = json.loads(Path(path).read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise ConfigError(f'{path} cannot be read: {error}') from error
    if not isinstance(found, dict) or not found.get('checkpoints'):
        raise ConfigError(f'{path} has no gradients; research/gradients.py writes them')
    return found


def cosine(
    gradients: Mapping[str, Any],
    checkpoint: str,
    step: str,
    stage: int,
    what: str = 'same_images',
) -> float | None:
    """One cosine, None where the step has no gradient.

    Args:
        gradients (Mapping): As of :func:`read_gradients`.
        checkpoint (str): Its label.
        step (str): Its name.
        stage (int): From 1.
        what (str): ``'same_images'`` or ``'other_images'``. Defaults to the former.

    Raises:
        ConfigError: If it was not measured.
    """
    try:
        return gradients['checkpoints'][checkpoint][step][what][stage - 1]
    except (KeyError, IndexError) as error:
        raise ConfigError(
            f'the {what} of {step!r} in stage {stage} at {checkpoint!r} were not '
            'measured'
        ) from error


def gradients_plot(gradients: Mapping[str, Any]) -> Plot:
    """Two heat maps: steps by stages, one block of stages per checkpoint."""
    steps = {
        label: {name: [row[panel] for panel in _PANELS] for name, row in of.items()}
        for label, of in gradients['checkpoints'].items()
    }
    note = (
        f'{gradients["batches"]} batches of {gradients["batch_size"]} images, '
        f'{gradients["image_size"]} px; stage 1 includes the stem; –: no gradient'
    )
    return Plot(
        ['gradients', note, [[label, list(of.items())] for label, of in steps.items()]],
        lambda path, metadata: _draw(gradients['checkpoints'], note, path, metadata),
    )


def _draw(
    checkpoints: Mapping[str, Mapping], note: str, path: Path, metadata: dict
) -> None:
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot as plt

    names = list(next(iter(checkpoints.values())))
    stages = len(next(iter(next(iter(checkpoints.values())).values()))['same_images'])
    columns = stages * len(checkpoints)
    size = (2.6 + 0.52 * columns, 2 * (0.2 * len(names) + 0.85) + 0.3)
    with plt.rc_context({'font.size': 8}):
        figure, panels = plt.subplots(2, figsize=size, constrained_layout=True)
        for axes, (what, title) in zip(panels, _PANELS.items()):
            rows = [
                [x for of in checkpoints.values() for x in of[name][what]]
                for name in names
            ]
            _heat_map(axes, rows)
            axes.set_title(title, loc='left', fontsize=8.5, pad=30)
            axes.set_yticks(range(len(names)), names)
            axes.set_xticks(
                range(columns), [f'stage {i % stages + 1}' for i in range(columns)]
            )
            axes.tick_params(length=0, top=True, labeltop=True, labelbottom=False)
            axes.tick_params(axis='x', labelsize=7, pad=1)
            for i, label in enumerate(checkpoints):
                axes.text(
                    i * stages + (stages - 1) / 2, -1.45, label, ha='center',
                    va='bottom', weight='bold',
                )  # fmt: skip
                if i:
                    axes.axvline(i * stages - 0.5, color='white', linewidth=4)
        panels[-1].set_xlabel(note, fontsize=7.5, labelpad=6)
        figure.savefig(path, dpi=120, metadata=metadata)
        plt.close(figure)


def _heat_map(axes: Axes, rows: list[list[float | None]]) -> None:
    """Numbers on colours: blue agrees, red opposes, white is at a right angle."""
    limit = max(abs(x) for row in rows for x in row if x is not None)
    colours = [[float('nan') if x is None else x for x in row] for row in rows]
    axes.imshow(colours, cmap='RdBu', vmin=-limit, vmax=limit, aspect='auto')
    for y, row in enumerate(rows):
        for x, value in enumerate(row):
            dark = value is not None and abs(value) > 0.65 * limit
            axes.text(
                x,
                y,
                _text(value),
                ha='center',
                va='center',
                fontsize=7.5,
                color='white' if dark else 'black',
            )
    axes.spines[:].set_visible(False)


def _text(value: float | None) -> str:
    if value is None:
        return '–'
    return f'{value:.2f}'.replace('-0.00', '0.00').replace('-', '−')
