"""A learning rate per stage that falls to zero when the stage freezes (FreezeOut)."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer

from mmaccel.models.utils.backbones import stage_names

from .schedule import TrainingStage

ANNEAL = ('unscaled', 'scaled')


def freeze_times(schedule: Sequence[TrainingStage]) -> list[float]:
    """Share of the training after which each stage of the network is trained no more.

    Args:
        schedule (Sequence[TrainingStage]): Of the training.

    Returns:
        list[float]: One per stage, in [0, 1]; 0 for one that is never trained.
    """
    return [
        max(
            (
                held.until
                for held in schedule
                for _, plan in held.plans()
                if plan.first_stage <= stage <= plan.exit_stage
            ),
            default=0.0,
        )
        for stage in range(1, len(schedule[0].exit_probs) + 1)
    ]


def rate_factor(progress: float, freezes_at: float, scaled: bool) -> float:
    """What the learning rate of a stage is multiplied with.

    FreezeOut (Brock et al. 2017, Section 2) gives a stage that freezes at t_i the rate
    ``(1 + cos(pi * t / t_i)) / 2``, times ``1 / t_i`` where it is scaled, so that all
    stages travel as far. This is that rate over the one without freezing, t_i = 1. So
    a config with a cosine schedule trains as published, and others, such as one with a
    warm-up, keep their own course.

    Args:
        progress (float): Share t of the training that is over, in [0, 1).
        freezes_at (float): Share t_i after which the stage is frozen, in [0, 1].
        scaled (bool): Whether the rate is divided by t_i.

    Returns:
        float: 1 for a stage that never freezes, 0 for one that is frozen.
    """
    if progress >= freezes_at:
        return 0.0
    falling = 1 + math.cos(math.pi * progress / freezes_at)
    factor = falling / (1 + math.cos(math.pi * progress))
    return factor / freezes_at if scaled else factor


def numbers_of_stages(backbone: nn.Module) -> dict[nn.Parameter, int]:
    """Stage of each parameter of a backbone, from 1; the stem belongs to the first."""
    later = {
        parameter: number
        for number, name in enumerate(stage_names(backbone), 1)
        for parameter in getattr(backbone, name).parameters()
    }
    return {parameter: later.get(parameter, 1) for parameter in backbone.parameters()}


class StageRates:
    """Multiplies the learning rates of single stages while an optimizer steps.

    In each step the optimizer sees its groups split by factor, with rates multiplied.
    Before and after, groups and rates are those that schedulers, logs and checkpoints
    know. Works with any optimizer that keeps its state by parameter, and with any
    groups, such as those of ``paramwise_cfg``.

    Args:
        optimizer (Optimizer): Of the training.
        stage_of (Mapping[nn.Parameter, int]): Stage of parameters; others keep their
            rate.

    Attributes:
        factors (Sequence[float]): One per stage, for the steps to come. Set it before
            each step.
    """

    def __init__(
        self, optimizer: Optimizer, stage_of: Mapping[nn.Parameter, int]
    ) -> None:
        self.factors: Sequence[float] = ()
        self._stage_of = stage_of
        self._whole: list[dict] = []
        self._handles = [
            optimizer.register_step_pre_hook(self._split),
            optimizer.register_step_post_hook(self._restore),
        ]

    def remove(self) -> None:
        """Leave the optimizer alone from now on."""
        for handle in self._handles:
            handle.remove()

    def _split(self, optimizer: Optimizer, *_: Any) -> None:
        self._whole = optimizer.param_groups
        optimizer.param_groups = [
            dict(group, params=parameters, lr=group['lr'] * factor)
            for group in self._whole
            for factor, parameters in self._by_factor(group['params']).items()
        ]

    def _restore(self, optimizer: Optimizer, *_: Any) -> None:
        optimizer.param_groups = self._whole

    def _by_factor(self, parameters: Sequence) -> dict[float, list]:
        found: dict[float, list] = {}
        for parameter in parameters:
            stage = self._stage_of.get(parameter)
            factor = 1.0 if stage is None else self.factors[stage - 1]
            found.setdefault(factor, []).append(parameter)
        return found
