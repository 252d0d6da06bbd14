"""What changes while training goes on: a list of stages, from progress to plan.

Not in the paper. A schedule is a list of :class:`TrainingStage`, each written out
whole, such as ::

    schedule = [
        dict(until=0.5, exit_probs=(0, 0, 0, 1), windows=False),
        dict(until=1.0, exit_probs=(0, 0, 0, 1), windows=False, entry_probs=(0, 1)),
    ]

which trains the whole network, and freezes its first stage in the second half.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch

from mmaccel.models.plan import StepPlan

UNIFORM = (0.25, 0.25, 0.25, 0.25)


@dataclass(frozen=True)
class TrainingStage:
    """What holds up to a point of the training.

    Args:
        until (float): Share of the training that is over when it ends, in (0, 1].
            Defaults to 1, the end.
        exit_probs (Sequence[float]): Probability of each exit, >= 0, scaled to sum 1.
            Defaults to uniform over four.
        entry_probs (Sequence[float]): Probability of each stage to be the first that
            is trained, >= 0; those before it run, but no gradient reaches them. Of
            those up to the exit, scaled to sum 1. Defaults to the first stage; with
            ``(0, 1)`` stage 1 is frozen.
        loss_on (str, optional): ``'exit'`` minimises the loss at the exit alone,
            ``'cumulative'`` those of the stages before it too. Defaults to None, the
            model's.
        fold_frozen (bool): Whether stages before the first that is trained run with
            folded batch norms, those of MoCo's keys too: with running statistics,
            which no longer change, in place of the batch's. Defaults to False, as
            stages that are trained.
        windows (bool): Whether windows are cut. Defaults to True.
        view_scale (float or Sequence[float]): Side of the views the network sees over
            the side the pipeline gives, in (0, 1]; views keep at least one pixel. Two
            values are those of the first and the second view: of MoCo's query and
            key, or of SimCLR's two views, which are alike; the small views of
            multi-crop then stay as they are. Defaults to 1.

    Raises:
        ValueError: If an argument is out of its range.
    """

    until: float = 1.0
    exit_probs: Sequence[float] = UNIFORM
    entry_probs: Sequence[float] = (1.0,)
    loss_on: str | None = None
    fold_frozen: bool = False
    windows: bool = True
    view_scale: float | Sequence[float] = 1.0

    def __post_init__(self) -> None:
        if not _is_share(self.until):
            raise ValueError(f'until={self.until!r} is not in (0, 1]; give a share')
        scale = self.view_scale
        pair = isinstance(scale, (list, tuple)) and len(scale) == 2
        if not all(map(_is_share, scale if pair else [scale])):  # type: ignore[arg-type]
            raise ValueError(
                f'view_scale={scale!r} is not in (0, 1]; give a share, or one each for '
                'the first and the second view'
            )
        for name in ('fold_frozen', 'windows'):
            value = getattr(self, name)
            if not isinstance(value, bool):
                raise ValueError(f'{name}={value!r} is neither True nor False')
        if self.loss_on not in (None, 'exit', 'cumulative'):
            raise ValueError(
                f"loss_on={self.loss_on!r} is unknown; use 'exit' or 'cumulative', or "
                "None for the model's"
            )
        exits = _scaled('exit_probs', self.exit_probs)
        entries = _scaled('entry_probs', self.entry_probs)
        first_exit = next(stage for stage, p in enumerate(exits, 1) if p > 0)
        if not any(entries[:first_exit]):
            raise ValueError(
                f'entry_probs={tuple(self.entry_probs)} leave nothing to train before '
                f'exit {first_exit}; give a stage up to it a positive probability, or '
                'that exit none'
            )
        if pair:
            object.__setattr__(self, 'view_scale', tuple(scale))  # type: ignore[arg-type]
        object.__setattr__(self, 'exit_probs', exits)
        object.__setattr__(self, 'entry_probs', entries)

    def draw(self, generator: torch.Generator) -> StepPlan:
        """Plan of one update."""
        exit_stage = _draw(self.exit_probs, generator)
        return self._plan(exit_stage, _draw(self._entries(exit_stage), generator))

    def plans(self) -> Iterator[tuple[float, StepPlan]]:
        """Every plan that an update may have, with its probability."""
        for exit_stage, p in enumerate(self.exit_probs, 1):
            for first, q in enumerate(self._entries(exit_stage) if p else (), 1):
                if q > 0:
                    yield p * q, self._plan(exit_stage, first)

    def stages_with_loss(self, cumulative: bool) -> set[int]:
        """Stages that a loss may be taken after, given what the model minimises."""
        if self.loss_on is not None:
            cumulative = self.loss_on == 'cumulative'
        return {
            stage
            for _, plan in self.plans()
            for stage in range(
                plan.first_stage if cumulative else plan.exit_stage,
                plan.exit_stage + 1,
            )
        }

    def _entries(self, exit_stage: int) -> list[float]:
        """Probability of each stage up to an exit to be the first that is trained."""
        possible = list(self.entry_probs[:exit_stage])
        possible += [0.0] * (exit_stage - len(possible))
        return [p / sum(possible) for p in possible]

    def _plan(self, exit_stage: int, first_stage: int) -> StepPlan:
        return StepPlan(
            exit_stage,
            first_stage,
            loss_on=self.loss_on,
            fold_frozen=self.fold_frozen,
            windows=self.windows,
            view_scale=self.view_scale,  # type: ignore[arg-type]  # a tuple by now
        )


def read_schedule(stages: Any) -> list[TrainingStage]:
    """Stages of a training, in order.

    Args:
        stages (Sequence[Mapping]): Arguments of :class:`TrainingStage`, the last of
            which ends with the training.

    Raises:
        ValueError: If an argument is unknown or out of its range, or a stage does not
            end after the one before it.
    """
    if not isinstance(stages, (list, tuple)) or not all(
        isinstance(stage, Mapping) for stage in stages
    ):
        raise ValueError(
            f'schedule={stages!r} is not a list of dicts; give one, such as '
            '[dict(until=0.5, windows=False), dict(until=1.0)]'
        )
    known = [field.name for field in fields(TrainingStage)]
    schedule: list[TrainingStage] = []
    for stage in stages:
        unknown = sorted(set(stage) - set(known))
        if unknown:
            raise ValueError(
                f'schedule has a stage with {", ".join(unknown)}; a stage has '
                f'{", ".join(known)}'
            )
        schedule.append(TrainingStage(**stage))
    ends = [stage.until for stage in schedule]
    if ends != sorted(set(ends)) or ends[-1:] != [1]:
        raise ValueError(
            f'the stages of schedule end at until={ends}; list them in ascending '
            'order, the last with until=1.0'
        )
    return schedule


def stage_at(schedule: Sequence[TrainingStage], progress: float) -> TrainingStage:
    """The stage that holds when a share of the training, from 0 to 1, is over."""
    return next((s for s in schedule if progress < s.until), schedule[-1])


def shares(schedule: Sequence[TrainingStage]) -> list[float]:
    """Share of the training that each stage takes."""
    begins = [0.0] + [stage.until for stage in schedule[:-1]]
    return [stage.until - begin for begin, stage in zip(begins, schedule)]


def _draw(probs: Sequence[float], generator: torch.Generator) -> int:
    weights = torch.tensor(probs, dtype=torch.float64)
    return int(torch.multinomial(weights, 1, generator=generator)) + 1


def _scaled(name: str, probs: Sequence[float]) -> tuple[float, ...]:
    """Probabilities that sum to 1."""
    remedy = 'give each stage a probability >= 0, such as (0.25, 0.25, 0.25, 0.25)'
    try:
        given = tuple(float(p) for p in probs)
    except (TypeError, ValueError) as error:
        raise ValueError(f'{name}={probs!r} is not a list of numbers; {remedy}') from (
            error
        )
    if not all(math.isfinite(p) and p >= 0 for p in given):
        raise ValueError(f'{name}={tuple(probs)} must not be negative; {remedy}')
    if not math.isfinite(sum(given)):
        raise ValueError(f'{name}={tuple(probs)} has an infinite sum; {remedy}')
    if sum(given) == 0:
        raise ValueError(
            f'{name}={tuple(probs)} sums to zero: no stage can be drawn; give at '
            'least one a positive probability'
        )
    return tuple(p / sum(given) for p in given)


def _is_share(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and 0 < value <= 1
