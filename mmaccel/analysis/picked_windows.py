"""Which windows a model picks on some images, in pixels of their views."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mmaccel.models.layers import WindowTrace
from mmaccel.models.plan import StepPlan
from mmaccel.models.utils.views import same_size

Box = tuple  # left, top, right, bottom in pixels, right and bottom exclusive


class ViewWindows(NamedTuple):
    """Windows of one view after one stage.

    ``candidates``: boxes drawn; ``picked``: which of them goes on; ``seen``: the part
    of the view that had reached the stage.
    """

    candidates: list[Box]
    picked: int
    seen: Box


class StageWindows(NamedTuple):
    """Windows of one image after one stage.

    ``views``: one entry per view; ``pair``: whether two views pick together, or each
    its own; ``losses``: (M, M) of a pair's windows or (views, M), None where nothing
    was scored; ``loss``: of what was picked, the mean over views that pick on their
    own.
    """

    stage: int
    views: list[ViewWindows]
    pair: bool
    losses: list | None
    loss: float | None


def pick_windows(
    model: Any, inputs: Sequence[Tensor], seed: int = 0
) -> list[list[StageWindows]]:
    """Run one training step's forward pass and see which windows it picks.

    The step is the model's own, to its last exit, so that every window is chosen
    against a partner, by the loss of its stage. Settings are the crop layer's; a
    ``PartialBackpropHook``'s schedule does not count.

    Args:
        model (AccelAlgorithm): An Accel model with a ``HardPairCropLayer``.
        inputs (Sequence[Tensor]): Views (N, C, H, W), after the data preprocessor.
        seed (int): Of the window draw. Defaults to 0.

    Returns:
        list[list[StageWindows]]: For each image its stages, in order.

    Note:
        A training step without gradient: batch statistics, the key encoder and the
        queues change.
    """
    choices: list[WindowTrace] = []
    model.train()
    model.plan = StepPlan(model.num_exits, window_seed=(seed, 0, 0))
    model.crop_layer.watcher = choices.append
    try:
        with torch.no_grad():
            model.loss(list(inputs), [])
    finally:
        model.crop_layer.watcher = model.plan = None
    sides = [(view.shape[-2], view.shape[-1]) for view in inputs]
    pairs = bool(choices) and len(choices[0].corners) == 2
    groups = [range(2)] if pairs else same_size(inputs)
    stages = [s for s in sorted(model.crop_after) if s < model.num_exits]
    return [_of_image(n, choices, stages, groups, sides) for n in range(len(inputs[0]))]


def to_pixels(
    corner: Sequence[int], size: Sequence[int], map_size: Sequence[int], seen: Box
) -> Box:
    """Where a window of a feature map lies on the view.

    A cell stands for the square of pixels that strides alone would give it; its
    receptive field is larger. Where sides are odd, the last cell's square ends at the
    border.

    Args:
        corner (Sequence[int]): Top row and left column of the window.
        size (Sequence[int]): Its rows and columns.
        map_size (Sequence[int]): Rows and columns of the map.
        seen (Box): The pixels that the map shows.
    """
    left, top, right, bottom = seen
    down = round((bottom - top) / map_size[0])  # pixels a cell
    across = round((right - left) / map_size[1])
    return (
        left + corner[1] * across,
        top + corner[0] * down,
        min(left + (corner[1] + size[1]) * across, right),
        min(top + (corner[0] + size[0]) * down, bottom),
    )


def _of_image(
    n: int,
    choices: Sequence[WindowTrace],
    stages: Sequence[int],
    groups: Sequence[range],
    sides: Sequence[tuple[int, int]],
) -> list[StageWindows]:
    seen: list[Box] = [(0, 0, width, height) for height, width in sides]
    remaining = iter(choices)
    found = []
    for stage in stages:
        views: list[ViewWindows] = []
        losses: list = []
        for group in groups:
            choice = next(remaining)
            pair = len(choice.corners) == 2
            count = len(choice.corners[0]) // (1 if pair else len(group))
            for i, view in enumerate(group):
                which, row = (i, n) if pair else (0, i * count + n)
                picked = int(choice.chosen[which][row])
                boxes = [
                    to_pixels(corner, choice.size, choice.map_size, seen[view])
                    for corner in choice.corners[which][row].tolist()
                ]
                views.append(ViewWindows(boxes, picked, seen[view]))
                seen[view] = boxes[picked]
                if choice.losses is not None and not (pair and i):
                    losses.append(choice.losses[row].tolist())
        picks = [view.picked for view in views]
        if not losses:
            found.append(StageWindows(stage, views, pair, None, None))
        elif pair:
            table = losses[0]
            loss = table[picks[0]][picks[1]]
            found.append(StageWindows(stage, views, pair, table, loss))
        else:
            own = [of_view[picked] for of_view, picked in zip(losses, picks)]
            loss = sum(own) / len(own)
            found.append(StageWindows(stage, views, pair, losses, loss))
    return found
