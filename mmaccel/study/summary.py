"""Runs of a study gathered into groups, and the figures of each group."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from mmaccel.errors import ConfigError
from mmaccel.evaluation.tables import Cell

#: Settings in which runs of one group may differ: none changes the training.
_FREE = ('seed', 'judge', 'stages', 'spread')


class Measure(NamedTuple):
    """A figure of a run: heading of its column, how to read it, how to print it.

    A record without it, or with null in its place, as ``train_py_seconds`` of a resumed
    run, reads None and counts nowhere.
    """

    heading: str
    read: Callable[[dict], float | None]
    form: str


def _last(name: str) -> Callable[[dict], float | None]:
    """The last point of a run's curve."""
    return lambda record: record['curve'][-1][name] if record.get('curve') else None


def _judged(split: str, metric: str) -> Callable[[dict], float | None]:
    """What the probe found; that of all stages finds the same of the final ones."""

    def read(record: dict) -> float | None:
        result = record.get(split, {})
        if metric == 'linear' and 'stages' in result:
            return result['stages'].get('Final')
        return result.get(metric, {}).get('top1')

    return read


def _spread(name: str) -> Callable[[dict], float | None]:
    """How far the projections after the last stage lie apart."""

    def read(record: dict) -> float | None:
        stages = record.get('spread') or {}
        return stages[max(stages, key=int)][name] if stages else None

    return read


#: Accuracies in percent.
ACCURACIES = {
    'knn': Measure('kNN, held-out', _last('knn'), '.1f'),
    'held-out-knn': Measure('kNN k=200, held-out', _judged('held_out', 'knn'), '.1f'),
    'held-out-linear': Measure(
        'linear, held-out', _judged('held_out', 'linear'), '.1f'
    ),
    'test-knn': Measure('kNN, test', _judged('test', 'knn'), '.1f'),
    'test-linear': Measure('linear, test', _judged('test', 'linear'), '.1f'),
}
SECONDS = Measure('training (s)', _last('seconds'), '.0f')
TIMES = {
    'seconds': SECONDS,
    'end-to-end': Measure('end to end (s)', lambda r: r.get('train_py_seconds'), '.0f'),
    'step-ms': Measure('step (ms)', lambda r: r.get('step_ms'), '.1f'),
    'data-ms': Measure('wait for data (ms)', lambda r: r.get('data_ms'), '.1f'),
}
SPREAD = {
    'neg-sim': Measure('similarity of images', _spread('neg_sim'), '.2f'),
    'rank': Measure('effective rank', _spread('effective_rank'), '.1f'),
}
MEASURES = {**ACCURACIES, **TIMES, **SPREAD}


class Group:
    """Runs that differ by their seed alone.

    Args:
        name (str): Such as ``'mocov2/baseline-200e'``.
        records (Sequence[dict]): Theirs, at least one; those of failed runs count
            nowhere but in ``failed``.

    Raises:
        ConfigError: If finished runs were trained differently or share a seed.
    """

    def __init__(self, name: str, records: Sequence[dict]) -> None:
        self.name = name
        self.finished = [r for r in records if r['status'] == 'ok']
        self.failed = [r for r in records if r['status'] != 'ok']
        self.epochs: int = (self.finished or self.failed)[0]['run']['epochs']
        self._check()

    @property
    def method(self) -> str:
        """Such as ``'mocov2'``."""
        return self.name.split('/')[0]

    @property
    def n(self) -> int:
        """Number of finished runs."""
        return len(self.finished)

    def cell(self, measure: Measure) -> Cell | None:
        """The figures of all runs that have them; None if none has."""
        values = [measure.read(record) for record in self.finished]
        there = tuple(value for value in values if value is not None)
        return Cell(there) if there else None

    def mean(self, measure: Measure) -> float:
        """The mean of a figure.

        Raises:
            ConfigError: If no run has it.
        """
        cell = self.cell(measure)
        if cell is None:
            raise ConfigError(f'no finished run of {self.name} has {measure.heading!r}')
        return cell.mean

    def label(self, template: str | None) -> str:
        """A name for readers; ``{epochs}``, ``{method}`` and so on are filled in.

        Raises:
            ConfigError: If the template asks for anything else.
        """
        if template is None:
            return self.name
        method, _, variant = self.name.partition('/')
        try:
            return template.format(
                group=self.name, method=method, variant=variant, epochs=self.epochs
            )
        except (KeyError, IndexError, ValueError) as error:
            raise ConfigError(
                f'the label {template!r} is not possible; {{group}}, {{method}}, '
                '{variant} and {epochs} are filled in'
            ) from error

    def _check(self) -> None:
        seeds = [record['run']['seed'] for record in self.finished]
        twice = sorted({seed for seed in seeds if seeds.count(seed) > 1})
        if twice:
            raise ConfigError(
                f'{self.name} has finished runs of different settings with the seed '
                f'{twice[0]}; remove the outdated lines from the records'
            )
        runs = [record['run'] for record in self.finished]
        for name in sorted({name for run in runs for name in run} - set(_FREE)):
            if any(run.get(name) != runs[0].get(name) for run in runs):
                raise ConfigError(
                    f'runs of {self.name} differ in {name}; remove the outdated lines '
                    'from the records or give them groups of their own'
                )


class Groups:
    """All groups of a study.

    Args:
        records (Iterable[dict]): From :func:`mmaccel.study.records.read_records`.
    """

    def __init__(self, records: Iterable[dict]) -> None:
        by_name: dict[str, list[dict]] = {}
        for record in records:
            by_name.setdefault(record['run']['group'], []).append(record)
        self._groups = {name: Group(name, own) for name, own in by_name.items()}

    def select(self, patterns: Iterable[str]) -> list[Group]:
        """Groups by name or pattern, in the order given, each once.

        Those that fit a pattern come in the order of their names, numbers in them by
        value.

        Raises:
            ConfigError: With all names and patterns that fit nothing.
        """
        chosen: dict[str, Group] = {}
        missing = []
        for pattern in patterns:
            names = [pattern] if pattern in self._groups else self._fitting(pattern)
            if not names:
                missing.append(pattern)
            chosen.update((name, self._groups[name]) for name in names)
        if missing:
            raise ConfigError(
                f'the records have no group {", ".join(missing)}; they have '
                f'{", ".join(sorted(self._groups)) or "none"}'
            )
        return list(chosen.values())

    def reference(self, pattern: str, group: Group) -> Group:
        """What a group is compared with; ``*`` in ``'*/baseline-200e'`` is its method.

        Raises:
            ConfigError: If there is none or none of its runs is finished.
        """
        method, _, variant = pattern.partition('/')
        name = f'{group.method if method == "*" else method}/{variant}'
        if name not in self._groups or not self._groups[name].n:
            raise ConfigError(f'the reference {name} has no finished run')
        return self._groups[name]

    def all(self) -> list[Group]:
        """Every group, in the order of their names."""
        return [self._groups[name] for name in sorted(self._groups, key=_by_number)]

    def _fitting(self, pattern: str) -> list[str]:
        names = (n for n in self._groups if fnmatch.fnmatchcase(n, pattern))
        return sorted(names, key=_by_number)


def _by_number(name: str) -> list:
    """Key that sorts ``baseline-50e`` before ``baseline-100e``."""
    parts = re.split(r'(\d+)', name)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)]
