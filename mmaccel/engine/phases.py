"""Settings of the method that change while training goes on."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Mapping, Sequence

from mmaccel.models.layers.hard_pair_crop import SELECTIONS
from mmaccel.models.plan import StepPlan


@dataclass(frozen=True)
class Phase:
    """What holds from a point of the training on.

    Args:
        begin (float): Share of the training that is over, in [0, 1). Defaults to 0.
        exit_probs (Sequence[float]): Probability of each exit, >= 0, scaled to sum 1.
            Defaults to uniform over four.
        windows (bool): Whether windows are cut. Defaults to True.
        select (str, optional): ``'hard'``, ``'easy'`` or ``'random'`` windows. Defaults
            to None, the crop layer's.
        crop_ratio (float, optional): Window side over map side, in (0, 1]. Defaults to
            None, the crop layer's.
        view_scale (float): Side of the views the network sees over the side the
            pipeline gives, in (0, 1]; views keep at least one pixel. Defaults to 1.
        supervision (str, optional): ``'exit'`` minimises the loss at the exit alone,
            ``'cumulative'`` those of the stages before it too. Defaults to None, the
            model's.
        entry_probs (Sequence[float]): Probability of each stage to be the first that
            is trained, >= 0; those before it run, but no gradient reaches them. Of
            those up to the exit, scaled to sum 1. Defaults to the first stage.

    Raises:
        ValueError: If an argument is out of its range.
    """

    begin: float = 0.0
    exit_probs: Sequence[float] = (0.25, 0.25, 0.25, 0.25)
    windows: bool = True
    select: str | None = None
    crop_ratio: float | None = None
    view_scale: float = 1.0
    supervision: str | None = None
    entry_probs: Sequence[float] = (1.0,)

    def __post_init__(self) -> None:
        exits = _scaled('exit_probs', self.exit_probs)
        entries = _scaled('entry_probs', self.entry_probs)
        first_exit = next(stage for stage, p in enumerate(exits, 1) if p > 0)
        if not any(entries[:first_exit]):
            raise ValueError(
                f'entry_probs={tuple(self.entry_probs)} leave nothing to train before '
                f'exit {first_exit}; give a stage up to it a positive probability, or '
                'that exit none'
            )
        if not (_is_number(self.begin) and 0 <= self.begin < 1):
            raise ValueError(
                f'a phase begins at {self.begin!r}; give the share of the training '
                'that is over by then, from 0 to less than 1'
            )
        if not (_is_number(self.view_scale) and 0 < self.view_scale <= 1):
            raise ValueError(
                f'view_scale={self.view_scale!r} is not possible; use more than 0, and '
                '1 for the views as they are'
            )
        if self.select not in (None, *SELECTIONS):
            raise ValueError(
                f'select={self.select!r} is unknown; use {", ".join(SELECTIONS)}, or '
                "None for the crop layer's"
            )
        if self.crop_ratio is not None and not (
            _is_number(self.crop_ratio) and 0 < self.crop_ratio <= 1
        ):
            raise ValueError(
                f'crop_ratio={self.crop_ratio!r} is not possible; use more than 0 up '
                "to 1, or None for the crop layer's"
            )
        if not isinstance(self.windows, bool):
            raise ValueError(f'windows={self.windows!r} is neither True nor False')
        if self.supervision not in (None, 'exit', 'cumulative'):
            raise ValueError(
                f"supervision={self.supervision!r} is unknown; use 'exit' or "
                "'cumulative', or None for the model's"
            )
        object.__setattr__(self, 'exit_probs', exits)
        object.__setattr__(self, 'entry_probs', entries)

    def entries(self, exit_stage: int) -> list[float]:
        """Probability of each stage up to an exit to be the first that is trained.

        Args:
            exit_stage (int): From 1; one of positive probability, which leaves a stage
                up to it to train.
        """
        possible = list(self.entry_probs[:exit_stage])
        possible += [0.0] * (exit_stage - len(possible))
        return [p / sum(possible) for p in possible]

    def plan(
        self,
        exit_stage: int,
        first_stage: int = 1,
        blocks: tuple[int, ...] | None = None,
    ) -> StepPlan:
        """Plan of an update within this phase; arguments as of :class:`StepPlan`."""
        return StepPlan(
            exit_stage,
            first_stage=first_stage,
            blocks=blocks,
            windows=self.windows,
            select=self.select,
            crop_ratio=self.crop_ratio,
            view_scale=self.view_scale,
            supervision=self.supervision,
        )


def _scaled(name: str, probs: Sequence[float]) -> tuple[float, ...]:
    """Probabilities that sum to 1."""
    try:
        given = tuple(float(p) for p in probs)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f'{name}={probs!r} is not a list of numbers; '
            'give each stage a probability >= 0, such as (0.25, 0.25, 0.25, 0.25)'
        ) from error
    if not all(math.isfinite(p) and p >= 0 for p in given):
        raise ValueError(
            f'{name}={tuple(probs)} must not be negative; '
            'give each stage a probability >= 0, such as (0.25, 0.25, 0.25, 0.25)'
        )
    if sum(given) == 0:
        raise ValueError(
            f'{name}={tuple(probs)} sums to zero: no stage can be drawn; give at least '
            'one a positive probability'
        )
    return tuple(p / sum(given) for p in given)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def read_changes(phases: Any) -> Sequence[Mapping[str, Any]]:
    """The hook's argument ``phases``.

    Raises:
        ValueError: If it is anything but a list of dicts.
    """
    if isinstance(phases, (list, tuple)) and all(
        isinstance(phase, Mapping) for phase in phases
    ):
        return phases
    raise ValueError(
        f'phases={phases!r} is not a list of dicts; give one, such as '
        '[dict(begin=0.5, windows=False)]'
    )


def read_phases(
    exit_probs: Sequence[float],
    entry_probs: Sequence[float],
    changes: Sequence[Mapping[str, Any]],
) -> list[Phase]:
    """Phases of a training, the first of which begins with it.

    Args:
        exit_probs (Sequence[float]): Of the beginning.
        entry_probs (Sequence[float]): Of the beginning.
        changes (Sequence[Mapping]): Arguments of :class:`Phase`, in the order of their
            ``begin``; what one does not name stays as it was.

    Raises:
        ValueError: If an argument is unknown or out of its range, or a phase does not
            begin behind the one before it.
    """
    phases = [Phase(exit_probs=exit_probs, entry_probs=entry_probs)]
    for number, change in enumerate(changes):
        unknown = set(change) - set(Phase.__dataclass_fields__)
        if unknown or 'begin' not in change:
            raise ValueError(
                f'the phase {dict(change)} needs begin, and of exit_probs, '
                'entry_probs, windows, select, crop_ratio, view_scale and supervision '
                'what changes'
            )
        later = replace(phases[-1], **change)
        if not later.windows and {'select', 'crop_ratio'} & set(change):
            raise ValueError(
                f'the phase {dict(change)} chooses among windows that are off; add '
                'windows=True to it'
            )
        if later.begin == 0 and number == 0:
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
