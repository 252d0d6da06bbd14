"""Speed-up at equal accuracy, against baselines whose whole schedule is shortened."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

#: What a relative cost was taken from.
TIME, OPERATIONS = 'time', 'operations'


def epochs_needed(accuracy: float, baselines: Mapping[int, float]) -> float | None:
    """Epochs that a plain baseline needs for an accuracy.

    Accuracies between two baselines are on the straight line in the logarithm of the
    epochs. Where a longer baseline is worse, the shortest schedule counts.

    Args:
        accuracy (float): In percent.
        baselines (Mapping[int, float]): Epochs to accuracies.

    Returns:
        float, optional: None if all of them are better or all are worse.
    """
    points = sorted(baselines.items())
    for (shorter, low), (longer, high) in pairwise(points):
        if low <= accuracy <= high:
            share = (accuracy - low) / (high - low) if high > low else 0.0
            return shorter * (longer / shorter) ** share
    return None


def speedup(
    accuracy: float, epochs: int, cost: float, baselines: Mapping[int, float]
) -> float | None:
    """A plain baseline's time for an accuracy, divided by the time that a run took.

    Args:
        accuracy (float): Of the run, in percent.
        epochs (int): Of the run.
        cost (float): Of its step, relative to a plain baseline's; positive.
        baselines (Mapping[int, float]): As of :func:`epochs_needed`.

    Returns:
        float, optional: Above 1 where the run is faster; None as of
        :func:`epochs_needed`.
    """
    needed = epochs_needed(accuracy, baselines)
    return None if needed is None else needed / (epochs * cost)


class Cost(NamedTuple):
    """What a step costs relative to a plain baseline's.

    ``ratio``: of times, else of operations. ``by``: of which. ``operations``: their
    ratio.
    """

    ratio: float
    by: str
    operations: float


class StepCosts:
    """Costs of steps, from files that ``research/step_times.py`` wrote.

    Args:
        *paths (str or Path): A variant counts by the first file that has it timed, else
            by the first that has its operations. A file that does not exist has none.
    """

    def __init__(self, *paths: str | Path) -> None:
        files = [json.loads(Path(p).read_text()) for p in paths if Path(p).is_file()]
        self._entries = [file['variants'] for file in files]

    def of(self, variant: str, width: int) -> Cost | None:
        """Cost of a variant, ``method/variant``, in a network of a width.

        Returns:
            Cost, optional: None if no file has it at this width.
        """
        found = [e[variant] for e in self._entries if variant in e]
        found = [entry for entry in found if entry['width'] == width]
        for entry in found:
            if TIME in entry:
                return Cost(entry[TIME]['median'], TIME, entry[OPERATIONS])
        for entry in found:
            return Cost(entry[OPERATIONS], OPERATIONS, entry[OPERATIONS])
        return None
