"""The paper's tables, filled with what was measured and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from mmaccel.evaluation.pretraining import Pretraining
from mmaccel.evaluation.tables import (
    Cell,
    Key,
    Table,
    by_settings,
    cell,
    grouped,
    make_tables,
    pretraining_key,
    protocol_of,
    record_key,
    training_times,
    without_repeats,
)

from .layouts import DAYS, FULL, GPU_DAYS, PAPER_TABLES, PaperRow, PaperTable

PAPER_NOTE = """
Columns headed "paper" quote the paper (its days are on 8 TITAN V 12 GB). All others are
measurements of the runs collected here.
"""
_ABLATIONS = PAPER_TABLES[3:7]
_VIEWS = {9: 'SwAV', 10: 'MoCo v2'}  # tables that compare views, of one method each


class Line(NamedTuple):
    """A row to fill: its labels, the pretraining it shows, the paper's figures."""

    labels: tuple[str, ...]
    key: Key
    figures: tuple[str, ...] = ()


def make_paper_tables(
    records: Iterable[dict],
    pretrainings: Iterable[Pretraining] = (),
    paper: bool = False,
) -> list[Table]:
    """Sort results into the layouts of the paper's Tables 1 to 10.

    All ten come out, empty where nothing was measured, followed by Tables 4 to 7, 9 and
    10 on other data where a run belongs to one of them, and by plain tables of the
    results that the ten have no row for. Which row a result belongs to is decided by
    what its pretraining checkpoint was trained with.

    Args:
        records (Iterable[dict]): From :func:`mmaccel.evaluation.read_records`.
        pretrainings (Iterable[Pretraining]): Runs whose training time is to be shown.
        paper (bool): Whether to add the paper's figures, in columns of their own.
            Defaults to False.
    """
    records, pretrainings = without_repeats(records), list(pretrainings)
    measured = _Measured(records, pretrainings)
    tables = [
        measured.table(
            f'Table {layout.number}: {layout.title}',
            layout,
            layout.dataset,
            [
                Line(row.labels, _key(row), row.figures if paper else ())
                for row in layout.rows
            ],
        )
        for layout in PAPER_TABLES
    ]
    tables += [*_ablations(measured), *_by_views(measured)]
    shown = {
        (layout.task, layout.dataset, _key(row))
        for layout in PAPER_TABLES
        for row in layout.rows
    }
    others = [record for record in records if _place(record) not in shown]
    return tables + make_tables(others, pretrainings)


class _Measured:
    """Results by task, dataset and pretraining."""

    def __init__(self, records: list[dict], runs: list[Pretraining]) -> None:
        self.records = grouped(records, _place)
        self.runs = grouped(runs, pretraining_key)

    def linear(self) -> list[tuple[str, Key]]:
        """Dataset and pretraining of every linear evaluation on other data."""
        found = {(data, key) for task, data, key in self.records if task == 'linear'}
        return sorted(((d, k) for d, k in found if d != 'ImageNet'), key=str)

    def table(
        self, title: str, layout: PaperTable, dataset: str, lines: Sequence[Line]
    ) -> Table:
        """A layout filled for some pretrainings; at least one row for each."""
        quoted = {
            column.heading
            for line in lines
            for column, figure in zip(layout.columns, line.figures)
            if figure
        }
        headings = list(layout.labels)
        for column in layout.columns:
            if column.heading in quoted:
                headings.append(f'paper {column.heading}')
            headings.append(column.heading)
        timed = DAYS in layout.columns
        headings += ['device'] * timed + ['protocol']
        rows = []
        for line in lines:
            figures = dict(zip((c.heading for c in layout.columns), line.figures))
            for cells, device, protocol in self._rows(layout, dataset, line.key):
                row: list[str | Cell | None] = [*line.labels]
                for column in layout.columns:
                    if column.heading in quoted:
                        row.append(figures.get(column.heading, ''))
                    row.append(cells.get(column.heading))
                rows.append((*row, *[device] * timed, protocol))
                figures = {}  # on the first row alone
        return Table(title, tuple(headings), rows)

    def _rows(
        self, layout: PaperTable, dataset: str, key: Key
    ) -> Iterator[tuple[dict[str, Cell | None], str, str]]:
        """Cells by heading, device and protocol.

        There are several where hyper-parameters, protocols or devices differ.
        """
        own = self.records.get((layout.task, dataset, key), [])
        timed = self.runs.get(key, []) if DAYS in layout.columns else []
        for note, records, runs in by_settings(own, timed):
            times = training_times(runs)
            # which accuracy belongs to which device cannot be told of several
            both = times if len(times) == 1 else [None]
            apart: list = [] if len(times) == 1 else times
            pairs = [(own, both[0]) for own in _by_protocol(records) or [[]]]
            for results, time in [*pairs, *(([], time) for time in apart)]:
                if not results and time is None and apart:
                    continue
                cells = {
                    column.heading: cell(
                        (r for r in results if r['frozen'] is column.frozen),
                        column.metric,
                    )
                    for column in layout.columns
                }
                if time:
                    cells.update({DAYS.heading: time[0], GPU_DAYS.heading: time[1]})
                about = [*dict.fromkeys(map(protocol_of, results)), note]
                yield cells, time[2] if time else '', '; '.join(filter(None, about))


def _by_protocol(records: list[dict]) -> list[list[dict]]:
    """Results that share a row.

    Those of a frozen backbone and of a trained one may word their protocols
    differently: where each has one, they share a row all the same.
    """
    protocols = grouped(records, protocol_of)
    each = {(r['frozen'], protocol_of(r)) for r in records}
    if all(sum(f is frozen for f, _ in each) < 2 for frozen in (True, False)):
        return [records] if records else []
    return [protocols[name] for name in sorted(protocols)]


def _ablations(measured: _Measured) -> Iterator[Table]:
    """Tables 4 to 7 on other data, where a run belongs to one of them."""
    linear = measured.linear()
    places = [
        (dataset, key._replace(method='', variant=''))
        for dataset, key in linear
        if key.arch
    ]
    for dataset, place in dict.fromkeys(places):
        for layout in _ABLATIONS:
            lines = [
                Line(row.labels, place._replace(method=row.method, variant=row.variant))
                for row in layout.rows
            ]
            own = [line.key for line in lines if line.key.variant not in ('', FULL)]
            if any((dataset, key) in linear for key in own):
                yield measured.table(
                    _title(layout, dataset, place), layout, dataset, lines
                )


def _by_views(measured: _Measured) -> Iterator[Table]:
    """Tables 9 and 10 on other data, where views differ."""
    for layout in PAPER_TABLES:
        if layout.number not in _VIEWS:
            continue
        sizes_alone = layout.number == 10
        fitting = [
            (dataset, key)
            for dataset, key in measured.linear()
            if key.variant in (('',) if sizes_alone else ('', FULL))
            and _family(key) == _VIEWS[layout.number]
        ]
        groups = grouped(
            fitting, lambda x: (x[0], x[1]._replace(method='', variant='', views=''))
        )
        for (dataset, place), own in groups.items():
            keys = [key for _, key in own]
            if len({key.views for key in keys}) < 2:
                continue
            lines = []
            for key in keys:
                accel = ', Accel' if key.variant else ''
                size = key.views.partition('×')[2]
                both = (key.views + accel, str(key.epochs))
                lines.append(Line((size,) if sizes_alone else both, key))
            yield measured.table(_title(layout, dataset, place), layout, dataset, lines)


def _title(layout: PaperTable, dataset: str, place: Key) -> str:
    return (
        f'{dataset}: {layout.title}, as Table {layout.number} ({place.arch}, '
        f'{place.epochs} epochs on {place.dataset})'
    )


def _family(key: Key) -> str:
    return key.method.replace('Accel-', '').partition(' 2×')[0]


def _key(row: PaperRow) -> Key:
    return Key(row.method, row.variant, row.views, 'ResNet-50', 'ImageNet', row.epochs)


def _place(record: dict) -> tuple[str, str, Key]:
    """Task, dataset and pretraining of a result."""
    finetuned = record['task'] == 'linear' and not record['frozen']
    task = 'fine-tuning' if finetuned else record['task']
    return task, record['dataset'], record_key(record)
