"""The paper's tables, filled with what was measured and nothing else."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mmengine.logging import print_log

from .paper import (
    DAYS,
    FULL,
    GPU_DAYS,
    PAPER_TABLES,
    Measure,
    PaperRow,
    PaperTable,
)
from .pretraining import Pretraining
from .recipe import SUPERVISED

_TIME = (DAYS, GPU_DAYS)
#: Columns for results that the paper has no row for, after the task's own table.
_TASKS = {
    'linear': ('linear classification', PAPER_TABLES[0].measures),
    'fine-tuning': ('fine-tuning', (Measure('top-1', 'top1', False), *_TIME)),
    'knn': ('kNN classification', (Measure('kNN top-1', 'top1'), *_TIME)),
    'stages': ('intermediate features', PAPER_TABLES[7].measures),
    'segmentation': ('segmentation', PAPER_TABLES[1].measures),
    'detection': ('detection', PAPER_TABLES[2].measures),
}
_ABLATIONS = PAPER_TABLES[3:7]
_LABELS = ('method', 'variant', 'epochs', 'network', 'pretrained on')


class Key(NamedTuple):
    """What makes two pretrainings the same but for their seed."""

    method: str
    variant: str = ''
    views: str = ''
    arch: str = ''
    dataset: str = ''
    epochs: int | None = None


class Cell(NamedTuple):
    """Measurements of one figure, one a seed."""

    values: tuple[float, ...]

    @property
    def n(self) -> int:
        """Number of measurements."""
        return len(self.values)

    @property
    def mean(self) -> float:
        """Their mean."""
        return statistics.fmean(self.values)

    @property
    def std(self) -> float | None:
        """Their sample standard deviation (n - 1); None for a single one."""
        return statistics.stdev(self.values) if self.n > 1 else None

    def text(self, metric: str) -> str:
        """Mean ± standard deviation and n, percentages to the paper's one decimal."""
        form = '.3g' if metric in ('days', 'gpu_days') else '.1f'
        spread = '' if self.std is None else f' ± {self.std:{form}}'
        return f'{self.mean:{form}}{spread} (n={self.n})'


class Row(NamedTuple):
    """Labels, cells by heading (absent where nothing was measured), the paper's."""

    labels: tuple[str, ...]
    cells: dict[str, Cell]
    device: str
    protocol: str
    paper: dict[str, str]


class Table(NamedTuple):
    """A table; ``number`` is the paper's where the layout and the data are."""

    title: str
    number: int | None
    dataset: str
    labels: tuple[str, ...]
    measures: tuple[Measure, ...]
    rows: list[Row]


def make_tables(
    records: Iterable[dict], pretrainings: Iterable[Pretraining] = ()
) -> list[Table]:
    """Sort results into the layouts of the paper's Tables 1 to 10.

    All ten come out, empty where nothing was measured. Results that they have no row
    for (another network, number of epochs, variant) and results on other data follow in
    tables of their own with the same columns. Which row a result belongs to is decided
    by what its pretraining checkpoint was trained with.

    Args:
        records (Iterable[dict]): From :func:`mmaccel.evaluation.read_records`. Those
            of the same weights, seed, config and protocol count once, the first.
        pretrainings (Iterable[Pretraining]): Runs whose training time is to be shown.

    Note:
        Figures of different hyper-parameters, protocols, numbers of images or devices
        are never averaged: they take a row each.
    """
    filler = _Filler(_without_repeats(records), list(pretrainings))
    tables = [filler.paper_table(layout) for layout in PAPER_TABLES]
    tables += filler.listings(PAPER_TABLES)
    tables += filler.ablations()
    tables += filler.pretraining_table()
    return tables


class _Filler:
    """Looks results up by pretraining, task and dataset."""

    def __init__(self, records: list[dict], runs: list[Pretraining]) -> None:
        self.records = records
        self.runs: dict[Key, dict[str, list[Pretraining]]] = {}
        for run in runs:
            devices = self.runs.setdefault(Key(*run.recipe, run.epochs), {})  # type: ignore[call-arg]
            name = f'{run.devices} × {run.device or "unknown device"}'
            devices.setdefault(name, []).append(run)

    def paper_table(self, layout: PaperTable) -> Table:
        """Fill one of the paper's tables."""
        rows = []
        for row in layout.rows:
            figures = {m.heading: f for m, f in zip(layout.measures, row.figures) if f}
            first, *others = self.rows(
                row.labels, _key(row), layout.task, layout.dataset, layout.measures
            )
            rows += [first._replace(paper=figures), *others]
        return Table(
            f'Table {layout.number}: {layout.title}',
            layout.number,
            layout.dataset,
            layout.labels,
            layout.measures,
            rows,
        )

    def listings(self, layouts: Sequence[PaperTable]) -> list[Table]:
        """Every result that no row of the paper's tables shows."""
        shown = {
            (layout.task, layout.dataset, _key(row))
            for layout in layouts
            for row in layout.rows
        }
        left: dict[tuple[str, str], list[Key]] = {}
        for record in self.records:
            task, dataset, key = _place(record)
            keys = left.setdefault((task, dataset), [])
            if (task, dataset, key) not in shown and key not in keys:
                keys.append(key)
        tables = []
        papers = {(layout.task, layout.dataset) for layout in layouts}
        for (task, dataset), keys in sorted(left.items()):
            name, measures = _TASKS[task]
            further = ', further results' if (task, dataset) in papers else ''
            rows = [
                row
                for key in sorted(keys, key=str)
                for row in self.rows(_labels(key), key, task, dataset, measures)
            ]
            if rows:
                title = f'{dataset}: {name}{further}'
                tables.append(Table(title, None, dataset, _LABELS, measures, rows))
        return tables

    def ablations(self) -> list[Table]:
        """Tables 4 to 7, 9 and 10 on other data, where a run belongs to one of them."""
        placed = [_place(record) for record in self.records]
        measured = {(dataset, key) for task, dataset, key in placed if task == 'linear'}
        places = {
            (dataset, key._replace(method='', variant=''))
            for dataset, key in measured
            if dataset != 'ImageNet' and key.arch
        }
        tables = []
        for dataset, place in sorted(places, key=str):
            for layout in _ABLATIONS:
                keys = [
                    place._replace(method=row.method, variant=row.variant)
                    for row in layout.rows
                ]
                own = [key for key in keys if key.variant not in ('', FULL)]
                if any((dataset, key) in measured for key in own):
                    labels = [row.labels for row in layout.rows]
                    tables.append(self._as(layout, dataset, labels, keys))
        for layout, method in ((PAPER_TABLES[8], 'SwAV'), (PAPER_TABLES[9], 'MoCo v2')):
            tables += self._by_views(layout, method, measured)
        return tables

    def _by_views(
        self, layout: PaperTable, method: str, measured: set[tuple[str, Key]]
    ) -> list[Table]:
        """Tables 9 and 10 on other data, where views differ."""
        groups: dict[tuple[str, Key], list[Key]] = {}
        for dataset, key in sorted(measured, key=str):
            name = key.method.replace('Accel-', '').partition(' 2×')[0]
            upstream_only = layout.number == 10
            fits = key.variant in (('',) if upstream_only else ('', FULL))
            if dataset != 'ImageNet' and name == method and fits:
                place = key._replace(method='', variant='', views='')
                groups.setdefault((dataset, place), []).append(key)
        tables = []
        for (dataset, _), keys in groups.items():
            if len({key.views for key in keys}) < 2:
                continue
            labels: list[tuple[str, ...]] = []
            for key in keys:
                if layout.number == 10:
                    labels.append((key.views.partition('×')[2],))
                else:
                    accel = ', Accel' if key.variant else ''
                    labels.append((key.views + accel, str(key.epochs)))
            tables.append(self._as(layout, dataset, labels, keys))
        return tables

    def _as(
        self,
        layout: PaperTable,
        dataset: str,
        labels: Sequence[tuple[str, ...]],
        keys: Sequence[Key],
    ) -> Table:
        place = keys[0]
        rows = [
            row
            for label, key in zip(labels, keys)
            for row in self.rows(label, key, layout.task, dataset, layout.measures)
        ]
        title = (
            f'{dataset}: {layout.title}, as Table {layout.number} ({place.arch}, '
            f'{place.epochs} epochs on {place.dataset})'
        )
        return Table(title, None, dataset, layout.labels, layout.measures, rows)

    def pretraining_table(self) -> list[Table]:
        """Training time of every pretraining found."""
        rows = [
            Row(_labels(key), _days(runs), device, note, {})
            for key in sorted(self.runs, key=str)
            for note, _, timed in _by_settings([], self.runs[key])
            for device, runs in sorted(timed.items())
        ]
        if not rows:
            return []
        return [Table('Pretraining time', None, '', _LABELS, _TIME, rows)]

    def rows(
        self,
        labels: tuple[str, ...],
        key: Key,
        task: str,
        dataset: str,
        measures: Sequence[Measure],
    ) -> list[Row]:
        """Rows of one pretraining, at least one.

        There are more where its hyper-parameters, the protocols or devices differ.
        """
        own = [r for r in self.records if _place(r) == (task, dataset, key)]
        timed = self.runs.get(key, {}) if DAYS in measures else {}
        return [
            row
            for note, records, runs in _by_settings(own, timed)
            for row in self._rows(labels, note, records, runs, measures)
        ]

    @staticmethod
    def _rows(
        labels: tuple[str, ...],
        note: str,
        records: Sequence[dict],
        timed: Mapping[str, list[Pretraining]],
        measures: Sequence[Measure],
    ) -> list[Row]:
        found: dict[str, list[dict]] = {}
        for record in records:
            protocol = f'{record["protocol"]} ({record["n"]} images)'
            found.setdefault(protocol, []).append(record)
        # frozen and not frozen may word their protocols differently
        if all(
            len({p for p, rs in found.items() if any(r['frozen'] is f for r in rs)}) < 2
            for f in (True, False)
        ):
            merged = [record for group in found.values() for record in group]
            found = {'; '.join(found): merged} if found else {}
        rows = []
        # which accuracy belongs to which device cannot be told, once there are several
        devices = sorted(timed) if len(timed) < 2 else ['']
        pairs = [(p, d) for p in sorted(found) or [''] for d in devices or ['']]
        if len(timed) > 1:
            pairs += [('', device) for device in sorted(timed)]
        for protocol, device in pairs:
            cells = {}
            for measure in measures:
                values = tuple(
                    record['metrics'][measure.metric]
                    for record in found.get(protocol, ())
                    if record['frozen'] is measure.frozen
                    and measure.metric in record['metrics']
                )
                if values:
                    cells[measure.heading] = Cell(values)
            if device:
                cells.update(_days(timed[device]))
            about = '; '.join(filter(None, (protocol, note)))
            rows.append(Row(labels, cells, device, about, {}))
        return rows or [Row(labels, {}, '', '', {})]


def _by_settings(
    records: Sequence[dict], timed: Mapping[str, list[Pretraining]]
) -> Iterator[tuple[str, list[dict], dict[str, list[Pretraining]]]]:
    """Results and runs of one recipe, apart where other hyper-parameters differ.

    With a note that says which pretraining it is, where there are several. Those that
    do not know their hyper-parameters are taken as of the first.
    """
    places: dict[str, str] = {}
    for record in records:
        if record.get('settings'):
            places.setdefault(record['settings'], str(Path(record['pretrain']).parent))
    for runs in timed.values():
        for run in runs:
            if run.settings:
                places.setdefault(run.settings, run.work_dir)
    known = sorted(places, key=lambda settings: places[settings]) or ['']
    for settings in known:

        def belongs(given: str | None, settings: str = settings) -> bool:
            return (given or known[0]) == settings

        own = {d: [r for r in rs if belongs(r.settings)] for d, rs in timed.items()}
        yield (
            f'pretrained in {places[settings]}' if len(known) > 1 else '',
            [r for r in records if belongs(r.get('settings'))],
            {device: runs for device, runs in own.items() if runs},
        )


def _days(runs: Sequence[Pretraining]) -> dict[str, Cell]:
    return {
        DAYS.heading: Cell(tuple(run.days for run in runs)),
        GPU_DAYS.heading: Cell(tuple(run.gpu_days for run in runs)),
    }


def _key(row: PaperRow) -> Key:
    place = (row.views, 'ResNet-50', 'ImageNet', row.epochs)
    return Key(row.method, row.variant, *place)


def _place(record: dict) -> tuple[str, str, Key]:
    """Task, dataset and pretraining of a result."""
    finetuned = record['task'] == 'linear' and not record['frozen']
    task = 'fine-tuning' if finetuned else record['task']
    return task, record['dataset'], _record_key(record)


def _record_key(record: dict) -> Key:
    recipe = record.get('recipe')
    epochs = record.get('pretrain_epochs')
    if not recipe:  # another checkpoint is another pretraining, as far as one can tell
        origin = record.get('pretrain') or f'nothing ({record.get("config")})'
        return Key(record['method'], dataset=origin, epochs=epochs)
    supervised = recipe['method'] == SUPERVISED
    return Key(**recipe, epochs=None if supervised else epochs)


def _labels(key: Key) -> tuple[str, ...]:
    method = key.method
    if key.views and key.views not in method:
        method += f' {key.views}'
    epochs = '' if key.epochs is None else str(key.epochs)
    return (method, key.variant, epochs, key.arch, key.dataset)


def _without_repeats(records: Iterable[dict]) -> list[dict]:
    """One record a measurement: the same run may have been evaluated twice."""
    parts = ('task', 'dataset', 'frozen', 'protocol', 'n', 'config', 'seed', 'pretrain')
    kept: dict[tuple, dict] = {}
    for record in records:
        files = {part: record.get(part) for part in ('config', 'pretrain')}
        files = {k: v and str(Path(v).resolve()) for k, v in files.items()}
        about = dict(record, **files)  # however they were spelt
        measurement = (*(about.get(part) for part in parts), _record_key(record))
        first = kept.setdefault(measurement, record)
        if first['metrics'] != record['metrics']:
            print_log(
                f'{record.get("path")} repeats {first.get("path")} with another '
                'result and is passed over',
                logger='current',
                level=logging.WARNING,
            )
    return list(kept.values())
