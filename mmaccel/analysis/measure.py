"""Timing steps, side by side."""

import statistics
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from mmaccel.models.plan import StepPlan


class MedianRange(dict):
    """``{median, min, max}`` of a measured figure, rounded to six digits."""

    def __init__(self, values: Sequence[float]) -> None:
        super().__init__(
            median=float(f'{statistics.median(values):.6g}'),
            min=float(f'{min(values):.6g}'),
            max=float(f'{max(values):.6g}'),
        )


class Timed(NamedTuple):
    """A step to be timed: ``runner.step(plan)`` between two ``runner.synchronize()``.

    ``runner`` is a :class:`StepRunner` or another library's that steps like one.
    """

    name: str
    runner: Any
    plan: StepPlan | None = None


def time_steps(
    variants: Sequence[Timed],
    rounds: int,
    warmup: int,
) -> dict[str, list[float]]:
    """Time variants of a step in turn, so that all see the same state of the machine.

    Args:
        variants (Sequence[Timed]): What to time.
        rounds (int): Timed rounds; each runs every variant once.
        warmup (int): Rounds before, not timed.

    Returns:
        dict[str, list[float]]: Milliseconds of each round.
    """
    times: dict[str, list[float]] = {name: [] for name, _, _ in variants}
    for i in range(warmup + rounds):
        for name, runner, plan in variants:
            runner.synchronize()
            start = time.perf_counter()
            runner.step(plan)
            if i >= warmup:
                times[name].append(1000 * (time.perf_counter() - start))
    return times


def ratios(ours: Sequence[float], baseline: Sequence[float]) -> MedianRange:
    """Ratio within each round, in which both saw the same machine."""
    return MedianRange([a / b for a, b in zip(ours, baseline)])
