"""Runs of a study gathered into groups, and the figures of each group."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from mmaccel.errors import ConfigError
from mmaccel.evaluation.tables import Cell, grouped

from .speedup import Cost, StepCosts, speedup

#: Settings in which runs of one group may differ: none changes the training.
_FREE = ('seed', 'evaluate_on', 'stages', 'spread')
_BATCH = 'train_dataloader.batch_size'  # an option of a run


class Metric(NamedTuple):
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


def _probed(split: str, probe: str) -> Callable[[dict], float | None]:
    """What a probe found; that of all stages finds the same of the final ones."""

    def read(record: dict) -> float | None:
        result = record.get(split, {})
        if probe == 'linear' and 'stages' in result:
            return result['stages'].get('Final')
        return result.get(probe, {}).get('top1')

    return read


def _spread(name: str) -> Callable[[dict], float | None]:
    """How far the projections after the last stage lie apart."""

    def read(record: dict) -> float | None:
        stages = record.get('spread') or {}
        return stages[max(stages, key=int)][name] if stages else None

    return read


#: Accuracies in percent.
ACCURACIES = {
    'knn': Metric('kNN, held-out', _last('knn'), '.1f'),
    'held-out-knn': Metric('kNN k=200, held-out', _probed('held_out', 'knn'), '.1f'),
    'held-out-linear': Metric('linear, held-out', _probed('held_out', 'linear'), '.1f'),
    'test-knn': Metric('kNN, test', _probed('test', 'knn'), '.1f'),
    'test-linear': Metric('linear, test', _probed('test', 'linear'), '.1f'),
}
#: What a speed-up may be by, the first first that the baselines have.
SPEEDUPS = {
    'knn': (ACCURACIES['test-knn'], ACCURACIES['knn']),
    'linear': (ACCURACIES['test-linear'], ACCURACIES['held-out-linear']),
}
SECONDS = Metric('training (s)', _last('seconds'), '.0f')
TIMES = {
    'seconds': SECONDS,
    'end-to-end': Metric('end to end (s)', lambda r: r.get('train_py_seconds'), '.0f'),
    'step-ms': Metric('step (ms)', lambda r: r.get('step_ms'), '.1f'),
    'data-ms': Metric('wait for data (ms)', lambda r: r.get('data_ms'), '.1f'),
}
METRICS = {
    **ACCURACIES,
    **TIMES,
    'neg-sim': Metric('similarity of images', _spread('neg_sim'), '.2f'),
    'rank': Metric('effective rank', _spread('effective_rank'), '.1f'),
}


class Speedup(NamedTuple):
    """Speed-ups of a group's runs, and the accuracy at which they are."""

    cell: Cell
    metric: Metric


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
        self.epochs: int = self.run['epochs']
        self._check()

    @property
    def method(self) -> str:
        """Such as ``'mocov2'``."""
        return self.name.split('/')[0]

    @property
    def variant(self) -> str:
        """Such as ``'mocov2/paper'``, whatever its length."""
        return self.name.removesuffix(f'-{self.epochs}e')

    @property
    def run(self) -> dict:
        """What its runs have in common, beside a seed."""
        return (self.finished or self.failed)[0]['run']

    @property
    def size(self) -> tuple:
        """Width, precision and batch: those of others do not compare."""
        run = self.run
        return run['width'], run['amp'], run['options'].get(_BATCH)

    @property
    def n(self) -> int:
        """Number of finished runs."""
        return len(self.finished)

    def cell(self, metric: Metric) -> Cell | None:
        """The figures of all runs that have them; None if none has."""
        values = [metric.read(record) for record in self.finished]
        there = tuple(value for value in values if value is not None)
        return Cell(there, metric.form) if there else None

    def mean(self, metric: Metric) -> float:
        """The mean of a figure.

        Raises:
            ConfigError: If no run has it.
        """
        cell = self.cell(metric)
        if cell is None:
            raise ConfigError(f'no finished run of {self.name} has {metric.heading!r}')
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
        records (Iterable[dict]): From :func:`research.study.records.read_runs`.
        costs (StepCosts, optional): What steps cost, for speed-ups. Defaults to none.
    """

    def __init__(self, records: Iterable[dict], costs: StepCosts | None = None) -> None:
        self._costs = costs or StepCosts()
        by_name = grouped(records, lambda record: record['run']['group'])
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
            ConfigError: If there is none, none of its runs is finished, or they are
                of another width, precision or batch.
        """
        method, _, variant = pattern.partition('/')
        name = f'{group.method if method == "*" else method}/{variant}'
        if name not in self._groups or not self._groups[name].n:
            raise ConfigError(f'the reference {name} has no finished run')
        found = self._groups[name]
        if found.size != group.size:
            raise ConfigError(
                f'{group.name} and {name} do not compare: width, precision and batch '
                f'are {group.size} and {found.size}'
            )
        return found

    def baselines(self, group: Group) -> list[Group]:
        """Finished baselines of a group's method and size, of whole schedules."""
        pattern = f'{group.method}/baseline-[0-9]+e'
        names = (name for name in self._groups if re.fullmatch(pattern, name))
        found = (self._groups[name] for name in names)
        return [b for b in found if b.n and b.size == group.size]

    def cost(self, group: Group) -> Cost | None:
        """What a group's step costs relative to a plain baseline's, if known."""
        if group in self.baselines(group):
            return Cost(1.0, '', 1.0)
        return self._costs.of(group.variant, group.run['width'])

    def speedup(self, group: Group, kind: str) -> Speedup | str | None:
        """Speed-up of each run at equal accuracy, see :mod:`.speedup`.

        Args:
            group (Group): Variant or baseline.
            kind (str): One of :data:`SPEEDUPS`.

        Returns:
            Speedup or str, optional: On the test split where the baselines there are
            both better and worse than every run, else on held-out images. If on
            neither, the reason; None if its accuracy was not measured.
        """
        cost = self.cost(group)
        if cost is None:
            return 'the cost of its step is not known'
        reason = None
        for metric in SPEEDUPS[kind]:
            runs = group.cell(metric)
            cells = {b.epochs: b.cell(metric) for b in self.baselines(group)}
            line = {epochs: cell.mean for epochs, cell in cells.items() if cell}
            if runs is None:
                continue
            reason = 'fewer than two baselines have this accuracy measured'
            if len(line) < 2:
                continue
            found = [speedup(x, group.epochs, cost.ratio, line) for x in runs.values]
            given = tuple(value for value in found if value is not None)
            if len(given) == len(found):
                return Speedup(Cell(given, '.2f'), metric)
            end = min(line) if min(runs.values) < line[min(line)] else max(line)
            than = 'worse' if end == min(line) else 'better'
            reason = f'a run is {than} than the baseline of {end} epochs'
        return reason

    def relative_time(self, group: Group, reference: Group) -> float | None:
        """Time of a whole training relative to another's: epochs times cost of a step.

        Not from the runs, which may share a machine with others or use another.

        Returns:
            float, optional: None if the cost of a step of either is not known.
        """
        costs = self.cost(group), self.cost(reference)
        if costs[0] is None or costs[1] is None:
            return None
        return group.epochs * costs[0].ratio / (reference.epochs * costs[1].ratio)

    def at_equal_time(self, group: Group) -> float | None:
        """Accuracy (kNN) that the method's baselines have in a group's time.

        On the straight line, in the logarithm of epochs, between the two baselines that
        are next to it.

        Returns:
            float, optional: None if all baselines are shorter or all are longer, or the
            cost of a step is not known.
        """
        line = {b.epochs: b.mean(ACCURACIES['knn']) for b in self.baselines(group)}
        cost = self.cost(group)
        if cost is None or not line:
            return None
        epochs = group.epochs * cost.ratio
        if not min(line) <= epochs <= max(line):
            return None
        lengths = sorted(line)
        accuracies = [line[length] for length in lengths]
        return float(np.interp(np.log(epochs), np.log(lengths), accuracies))

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
