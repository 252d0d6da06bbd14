"""What one training step does: drawn by the hook, read once by the algorithm."""

from dataclasses import dataclass

import torch

from mmaccel.seeding import WINDOW, derived_generator


@dataclass(frozen=True)
class StepPlan:
    """One training step's random choices (paper, Algorithm 1 and Section 4.3).

    Args:
        exit_stage (int): Stage whose loss is minimised, 1 to the number of stages.
        first_stage (int): First stage that gets a gradient, 1 to ``exit_stage``; the
            input of a later one is detached. Defaults to 1.
        blocks (tuple[int], optional): Residual blocks, counted from 0 through the
            network, whose residual branches get a gradient; through the others it
            passes along the shortcut alone. None stands for all.
        loss_on (str, optional): ``'exit'`` or ``'cumulative'``, as of the model. None
            stands for the model's.
        fold_frozen (bool): Whether the batch norms of stages before ``first_stage``
            use their running statistics, folded into the convolutions before them.
            Defaults to False.
        windows (bool): Whether the crop layer is used. Defaults to True.
        view_scale (float or tuple[float, float]): Factor on the side of the views, in
            (0, 1]; two values are those of the first and the second view (MoCo's query
            and key), and views after them, small already, stay as they are. Defaults
            to 1.
        window_seed (tuple[int], optional): Counters that seed the window draw,
            usually ``(seed, iteration, rank)``. None draws from torch's global
            generator.
        measure (bool): Whether the algorithm also reports similarities, feature
            standard deviation and effective rank. Defaults to False.
    """

    exit_stage: int
    first_stage: int = 1
    blocks: tuple[int, ...] | None = None
    loss_on: str | None = None
    fold_frozen: bool = False
    windows: bool = True
    view_scale: float | tuple[float, float] = 1.0
    window_seed: tuple[int, ...] | None = None
    measure: bool = False

    @property
    def folded_stages(self) -> int:
        """Number of stages, from the first on, whose batch norms are folded."""
        return self.first_stage - 1 if self.fold_frozen else 0

    def scale_of(self, view: int) -> float:
        """Factor on the side of a view, counted from 0."""
        if isinstance(self.view_scale, tuple):
            return self.view_scale[view] if view < 2 else 1.0
        return self.view_scale

    def window_generator(self) -> torch.Generator | None:
        """Return a fresh generator for this step's windows."""
        if self.window_seed is None:
            return None
        return derived_generator(WINDOW, *self.window_seed)
