"""Settings of the method that change while training goes on."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Mapping, Sequence

from .plan import StepPlan


@dataclass(frozen=True)
class Phase:
    """What holds from a point of the training on.

    Args:
        begin (float): Share of the training that is over, in [0, 1). Defaults to 0.
        exit_probs (Sequence[float]): Probability of each exit, >= 0, scaled to sum 1.
            Defaults to uniform over four.
        windows (bool): Whether windows are cut. Defaults to True.
        view_scale (float): Side of the views the network sees over the side the
            pipeline gives, in (0, 1]. Defaults to 1.
        supervision (str, optional): ``'exit'`` minimises the loss at the exit alone,
            ``'cumulative'`` those of the stages before it too. Defaults to None, the
            model's.
        first_stage (int): First stage that is trained; those before it run, but no
            gradient reaches them. At most the first exit that can be drawn. Defaults
            to 1.

    Raises:
        ValueError: If an argument is out of its range.
    """

    begin: float = 0.0
    exit_probs: Sequence[float] = (0.25, 0.25, 0.25, 0.25)
    windows: bool = True
    view_scale: float = 1.0
    supervision: str | None = None
    first_stage: int = 1

    def __post_init__(self) -> None:
        probs = [float(p) for p in self.exit_probs]
        if not all(math.isfinite(p) and p >= 0 for p in probs):
            raise ValueError(
                f'exit_probs={tuple(self.exit_probs)} must not be negative; '
                'give each exit a probability >= 0, such as (0.25, 0.25, 0.25, 0.25)'
            )
        if sum(probs) == 0:
            raise ValueError(
                f'exit_probs={tuple(self.exit_probs)} sums to zero: no exit can be '
                'drawn; give at least one exit a positive probability'
            )
        if not 0 <= self.begin < 1:
            raise ValueError(
                f'a phase begins at {self.begin}; give the share of the training that '
                'is over by then, from 0 to less than 1'
            )
        if not 0 < self.view_scale <= 1:
            raise ValueError(
                f'view_scale={self.view_scale} is not possible; use more than 0, and '
                '1 for the views as they are'
            )
        if self.supervision not in (None, 'exit', 'cumulative'):
            raise ValueError(
                f"supervision={self.supervision!r} is unknown; use 'exit' or "
                "'cumulative', or None for the model's"
            )
        first_exit = next(exit_ for exit_, p in enumerate(probs, 1) if p > 0)
        if not 1 <= self.first_stage <= first_exit:
            raise ValueError(
                f'first_stage={self.first_stage} cannot be trained from exit '
                f'{first_exit}; use 1 to {first_exit}, or exit_probs that are zero '
                'before it'
            )
        object.__setattr__(self, 'exit_probs', tuple(p / sum(probs) for p in probs))

    def plan(
        self,
        exit_stage: int,
        first_stage: int | None = None,
        blocks: tuple[int, ...] | None = None,
    ) -> StepPlan:
        """Plan of an update within this phase; arguments as of :class:`StepPlan`.

        The first stage is by default the phase's.
        """
        return StepPlan(
            exit_stage,
            first_stage=first_stage or self.first_stage,
            blocks=blocks,
            windows=self.windows,
            view_scale=self.view_scale,
            supervision=self.supervision,
        )


def read_phases(
    exit_probs: Sequence[float], changes: Sequence[Mapping[str, Any]]
) -> list[Phase]:
    """Phases of a training, the first of which begins with it.

    Args:
        exit_probs (Sequence[float]): Of the beginning.
        changes (Sequence[Mapping]): Arguments of :class:`Phase`, in the order of their
            ``begin``; what one does not name stays as it was.

    Raises:
        ValueError: If an argument is unknown or out of its range, or a phase does not
            begin behind the one before it.
    """
    phases = [Phase(exit_probs=exit_probs)]
    for change in changes:
        unknown = set(change) - set(Phase.__dataclass_fields__)
        if unknown or 'begin' not in change:
            raise ValueError(
                f'the phase {dict(change)} needs begin, and of exit_probs, windows, '
                'view_scale, supervision and first_stage what changes'
            )
        later = replace(phases[-1], **change)
        if later.begin == 0 and len(phases) == 1:
            phases = [later]
        elif later.begin <= phases[-1].begin:
            raise ValueError(
                f'a phase begins at {later.begin}, the one before it at '
                f'{phases[-1].begin}; list phases in the order of begin'
            )
        else:
            phases.append(later)
    return phases


def phase_at(phases: Sequence[Phase], progress: float) -> Phase:
    """The phase that holds when a share of the training is over."""
    return [phase for phase in phases if phase.begin <= progress][-1]


def shares(phases: Sequence[Phase]) -> list[float]:
    """Share of the training that each phase takes."""
    ends = [phase.begin for phase in phases[1:]] + [1.0]
    return [end - phase.begin for phase, end in zip(phases, ends)]
