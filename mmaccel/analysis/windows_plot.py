"""Pictures of picked windows on the images they were picked from."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .picked_windows import Box, StageWindows, ViewWindows

#: Colour, of Okabe and Ito's palette, and width of a frame.
_PICKED, _CANDIDATE = ('#E69F00', 2.6), ('#FFFFFF', 0.9)


def draw_windows(
    views: Sequence[np.ndarray], stages: Sequence[StageWindows], out: str | Path
) -> None:
    """One image: one row per stage, one column per view.

    Candidates are thin, the picked one thick; what an earlier stage cut away is dark.

    Args:
        views (Sequence[np.ndarray]): Its views, (H, W, 3) or (H, W), 8 bit; small ones
            after those that windows are cut from are not drawn.
        stages (Sequence[StageWindows]): From :func:`pick_windows`.
        out (str or Path): Picture to write.
    """
    plt = _pyplot()
    columns = len(stages[0].views)
    size = (2.6 * columns + 0.2, 2.95 * len(stages))
    figure, axes = plt.subplots(
        len(stages), columns, figsize=size, squeeze=False, constrained_layout=True
    )
    figure.get_layout_engine().set(hspace=0.04)
    for row, stage in zip(axes, stages):
        for i, (axis, view, windows) in enumerate(zip(row, views, stage.views)):
            _draw(axis, view, windows)
            axis.set_title(f'stage {stage.stage}, view {i + 1}', fontsize=8)
            if i == 0 or not stage.pair:
                axis.set_xlabel(_of_view(stage, i), fontsize=8, loc='left')
    _add_legend(figure)
    _save(plt, figure, out)


def draw_sheet(
    images: Sequence[Sequence[np.ndarray]],
    picked: Sequence[Sequence[StageWindows]],
    out: str | Path,
) -> None:
    """All images: one row per image, one column per stage and view.

    Args:
        images (Sequence): Views of each image.
        picked (Sequence): Stages of each image.
        out (str or Path): Picture to write.
    """
    plt = _pyplot()
    columns = len(picked[0]) * len(picked[0][0].views)
    size = (1.7 * columns, 1.85 * len(images) + 0.2)
    figure, axes = plt.subplots(
        len(images), columns, figsize=size, squeeze=False, constrained_layout=True
    )
    for n, (row, views, stages) in enumerate(zip(axes, images, picked)):
        cells = iter(row)
        for stage in stages:
            for i, (view, windows) in enumerate(zip(views, stage.views)):
                axis = next(cells)
                _draw(axis, view, windows)
                if n == 0:
                    axis.set_title(f'stage {stage.stage}, view {i + 1}', fontsize=8)
                if i == 0 and stage.loss is not None:
                    name = 'loss' if stage.pair else 'mean loss'
                    axis.set_xlabel(f'{name} {stage.loss:.2f}', fontsize=7, loc='left')
    _add_legend(figure)
    _save(plt, figure, out)


def describe(stage: StageWindows) -> str:
    """The picked windows' loss, among those of a pair's candidates."""
    if stage.losses is None or stage.loss is None:
        return 'picked without a loss'
    if stage.pair:
        return _of_view(stage, 0)
    return f'mean loss {stage.loss:.3f} of {len(stage.views)} views'


def _of_view(stage: StageWindows, view: int) -> str:
    """The loss of a pair, or of one of the views that pick their own windows."""
    if stage.losses is None:
        return 'picked without a loss'
    every = np.array(stage.losses if stage.pair else stage.losses[view])
    picked = stage.loss if stage.pair else every[stage.views[view].picked]
    return (
        f'loss {picked:.3f}; of all candidates {every.min():.3f} to {every.max():.3f}'
    )


def _draw(axis: Any, view: np.ndarray, windows: ViewWindows) -> None:
    axis.imshow(_darkened(view, windows.seen), cmap='gray', vmin=0, vmax=255)
    for i, box in enumerate(windows.candidates):
        if i != windows.picked:
            _frame(axis, box, *_CANDIDATE)
    _frame(axis, windows.candidates[windows.picked], *_PICKED)
    axis.set(xticks=[], yticks=[])
    for side in axis.spines.values():
        side.set_visible(False)


def _frame(axis: Any, box: Box, colour: str, width: float) -> None:
    from matplotlib import patches

    left, top, right, bottom = box
    # pixel centres are at whole numbers
    place = (left - 0.5, top - 0.5)
    frame = patches.Rectangle(place, right - left, bottom - top, fill=False)
    frame.set(clip_on=False, **_line(colour, width))
    axis.add_patch(frame)


def _line(colour: str, width: float) -> dict[str, Any]:
    """A frame's line, with a black outline so that it is seen on any picture."""
    from matplotlib import patheffects

    outline = patheffects.withStroke(linewidth=width + 1.0, foreground='black')
    return dict(edgecolor=colour, linewidth=width, path_effects=[outline])


def _add_legend(figure: Any) -> None:
    """Say which frames are which, below all axes."""
    from matplotlib import patches

    kinds = (
        (*_PICKED, 'picked: passed on to the next stage'),
        (*_CANDIDATE, 'passed over'),
    )
    handles = [
        patches.Patch(fill=False, label=label, **_line(colour, width))
        for colour, width, label in kinds
    ]
    figure.legend(handles=handles, loc='outside lower center', ncol=2, fontsize=7)


def _darkened(view: np.ndarray, seen: Box) -> np.ndarray:
    left, top, right, bottom = seen
    out = (view * 0.35).astype(view.dtype)
    out[top:bottom, left:right] = view[top:bottom, left:right]
    return out


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    return pyplot


def _save(plt: Any, figure: Any, out: str | Path) -> None:
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=150)
    plt.close(figure)
