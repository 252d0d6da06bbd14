"""Results as tables: one per task and dataset, one row per pretraining."""

import csv
import io
import json
import logging
import re
import statistics
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.logging import print_log

from mmaccel.errors import ConfigError
from mmaccel.fileio import write_atomically

from .pretraining import Pretraining, find_pretrainings
from .recipe import SUPERVISED
from .record import read_records

#: What a pretraining is called in a table.
LABELS = ('method', 'variant', 'epochs', 'network', 'pretrained on')
TIME = ('days', 'GPU-days', 'device')
_TASKS = dict(
    linear='linear classification',
    knn='kNN classification',
    stages='linear classification of every stage',
)
_NOTE = """\
Mean ± sample standard deviation over n runs; a single run has no ±; a cell is empty
where nothing was measured. Days are training time, evaluation excluded; GPU-days are
days times the number of devices named.
"""


class Cell(NamedTuple):
    """One figure, measured once per seed; ``form`` is the format it is printed in."""

    values: tuple[float, ...]
    form: str = '.1f'

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

    def __str__(self) -> str:
        """Mean ± standard deviation."""
        spread = '' if self.std is None else f' ± {self.std:{self.form}}'
        return f'{self.mean:{self.form}}{spread}'


class Table(NamedTuple):
    """A table; in its rows a string is a label and None a figure not measured."""

    title: str
    headings: tuple[str, ...]
    rows: list[tuple[str | Cell | None, ...]]

    @property
    def file_name(self) -> str:
        """For a file of this table, without its ending."""
        return re.sub(r'[^a-z0-9]+', '-', self.title.lower()).strip('-')


class Key(NamedTuple):
    """What makes two pretrainings the same but for their seed."""

    method: str
    variant: str = ''
    views: str = ''
    arch: str = ''
    dataset: str = ''
    epochs: int | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """The entries under :data:`LABELS`."""
        views = f' {self.views}' if self.views not in self.method else ''
        epochs = '' if self.epochs is None else str(self.epochs)
        return (self.method + views, self.variant, epochs, self.arch, self.dataset)


def gather(
    work_dirs: Sequence[str | Path], pretrain_logs: Sequence[str | Path] = ()
) -> tuple[list[dict], list[Pretraining]]:
    """Results below some folders, and the pretrainings that belong to them.

    Args:
        work_dirs (Sequence[str or Path]): Folders below which evaluations left
            ``result.json``. Pretrainings below them, and those whose checkpoints the
            results name, are found, too.
        pretrain_logs (Sequence[str or Path]): Further folders of pretrainings.

    Raises:
        ConfigError: If a folder does not exist, or there is nothing in any.
    """
    records = read_records(work_dirs)
    missing = [folder for folder in pretrain_logs if not Path(folder).is_dir()]
    if missing:
        raise ConfigError(
            f'there is no folder {missing[0]}; give --pretrain-logs folders of '
            'pretrainings'
        )
    beside = {Path(r['pretrain']).parent for r in records if r.get('pretrain')}
    beside = {path for path in beside if (path / 'vis_data').is_dir()}
    runs = find_pretrainings([*work_dirs, *pretrain_logs, *sorted(beside)])
    if not records and not runs:
        raise ConfigError(
            f'there is neither a result.json nor a log with the time of a pretraining '
            f'below {", ".join(map(str, work_dirs))}; name the work directories of '
            'finished evaluations (`mmaccel probe` leaves some) or of pretrainings by '
            '`mmaccel train`'
        )
    return records, runs


def make_tables(
    records: Iterable[dict], pretrainings: Iterable[Pretraining] = ()
) -> list[Table]:
    """Sort results into a table per task and dataset, and one of training times.

    Args:
        records (Iterable[dict]): From :func:`mmaccel.evaluation.read_records`. Those
            of the same weights, seed, config and protocol count once, the first.
        pretrainings (Iterable[Pretraining]): Runs whose training time is to be shown.

    Note:
        Figures of different hyper-parameters, protocols, numbers of images or devices
        are never averaged: they have a row each. Times on several devices are in the
        table of training times alone, for no result belongs to one of them.
    """
    runs = grouped(pretrainings, pretraining_key)
    places = grouped(without_repeats(records), lambda r: (r['dataset'], r['task']))
    tables = [
        _table(f'{dataset}: {_TASKS.get(task, task)}', places[dataset, task], runs)
        for dataset, task in sorted(places)
    ]
    rows = [
        (*key.labels, *time, note)
        for key in sorted(runs, key=str)
        for note, _, own in by_settings([], runs[key])
        for time in training_times(own)
    ]
    if rows:
        headings = (*LABELS, *TIME, 'protocol')
        tables.append(Table('Pretraining time', headings, rows))
    return tables


def _table(
    title: str, records: list[dict], runs: dict[Key, list[Pretraining]]
) -> Table:
    metrics = tuple(dict.fromkeys(m for r in records for m in r['metrics']))
    keys = grouped(records, record_key)
    rows: list[tuple] = []
    for key in sorted(keys, key=str):
        for note, own, timed in by_settings(keys[key], runs.get(key, [])):
            times = training_times(timed)
            time = times[0] if len(times) == 1 else (None, None, '')
            alike = grouped(own, lambda r: (not r['frozen'], protocol_of(r)))
            for trained, protocol in sorted(alike):
                seeds = alike[trained, protocol]
                cells = [cell(seeds, metric) for metric in metrics]
                backbone = 'trained' if trained else 'frozen'
                about = '; '.join(filter(None, (protocol, note)))
                rows.append((*key.labels, backbone, *cells, *time, about))
    return Table(title, (*LABELS, 'backbone', *metrics, *TIME, 'protocol'), rows)


def cell(records: Iterable[dict], metric: str) -> Cell | None:
    """A metric of several records; None if none has it."""
    values = tuple(r['metrics'][metric] for r in records if metric in r['metrics'])
    return Cell(values) if values else None


def training_times(
    runs: Sequence[Pretraining],
) -> list[tuple[Cell, Cell, str]]:
    """The entries under :data:`TIME`, for each number and kind of devices."""
    devices = grouped(runs, lambda r: f'{r.devices} × {r.device or "unknown device"}')
    return [
        (
            Cell(tuple(run.days for run in own), '.3g'),
            Cell(tuple(run.gpu_days for run in own), '.3g'),
            name,
        )
        for name, own in sorted(devices.items())
    ]


def protocol_of(record: dict) -> str:
    """A record's protocol and number of images: figures of others do not compare."""
    return f'{record["protocol"]} ({record["n"]} images)'


def pretraining_key(run: Pretraining) -> Key:
    """What the seeds of a pretraining have in common."""
    return Key(**run.recipe._asdict(), epochs=run.epochs)


def record_key(record: dict) -> Key:
    """The pretraining that a result belongs to."""
    recipe = record.get('recipe')
    epochs = record.get('pretrain_epochs')
    if not recipe:  # another checkpoint is another pretraining, as far as one can tell
        origin = record.get('pretrain') or f'nothing ({record.get("config")})'
        return Key(record['method'], dataset=origin, epochs=epochs)
    supervised = recipe['method'] == SUPERVISED
    return Key(**recipe, epochs=None if supervised else epochs)


def by_settings(
    records: Sequence[dict], runs: Sequence[Pretraining]
) -> Iterator[tuple[str, list[dict], list[Pretraining]]]:
    """Results and runs of one recipe, apart where other hyper-parameters differ.

    With a note that says which pretraining it is, where there are several. Those that
    do not know their hyper-parameters are taken as of the first.
    """
    places: dict[str, str] = {}
    for record in records:
        if record.get('settings'):
            places.setdefault(record['settings'], str(Path(record['pretrain']).parent))
    for run in runs:
        if run.settings:
            places.setdefault(run.settings, run.work_dir)
    known = sorted(places, key=lambda settings: places[settings]) or ['']
    for settings in known:
        yield (
            f'pretrained in {places[settings]}' if len(known) > 1 else '',
            [r for r in records if (r.get('settings') or known[0]) == settings],
            [r for r in runs if (r.settings or known[0]) == settings],
        )


def without_repeats(records: Iterable[dict]) -> list[dict]:
    """One record per measurement: the same run may have been evaluated twice."""
    parts = ('task', 'dataset', 'frozen', 'protocol', 'n', 'config', 'seed', 'pretrain')
    kept: dict[tuple, dict] = {}
    for record in records:
        files = {part: record.get(part) for part in ('config', 'pretrain')}
        files = {k: v and str(Path(v).resolve()) for k, v in files.items()}
        about = dict(record, **files)  # however they were spelt
        measurement = (*(about.get(part) for part in parts), record_key(record))
        first = kept.setdefault(measurement, record)
        if first['metrics'] != record['metrics']:
            print_log(
                f'{record.get("path")} repeats {first.get("path")} with another '
                'result and is left out',
                logger='current',
                level=logging.WARNING,
            )
    return list(kept.values())


def grouped(items: Iterable, key: Callable[[Any], Hashable]) -> dict[Any, list]:
    """Items by a key, in the order in which keys first appear."""
    groups: dict[Any, list] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def markdown_table(
    headings: Sequence[str], rows: Iterable[Sequence[str]], labels: int | None = None
) -> str:
    """A table in markdown; columns after the first ``labels`` are aligned right."""
    labels = len(headings) if labels is None else labels
    rule = ['---' if i < labels else '---:' for i in range(len(headings))]
    lines = [[x.replace('|', '\\|') for x in line] for line in (headings, rule, *rows)]
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines)


def to_markdown(tables: Iterable[Table], note: str = '') -> str:
    """All tables as one text, with a note on what their figures are."""
    parts = ['# Results', _NOTE + note]
    for table in tables:
        rows = [
            [f'{x} (n={x.n})' if isinstance(x, Cell) else x or '' for x in row]
            for row in table.rows
        ]
        parts += [f'## {table.title}', markdown_table(table.headings, rows)]
    return '\n\n'.join(part.rstrip('\n') for part in parts) + '\n'


def to_csv(table: Table) -> str:
    """One table, with mean, standard deviation and n of each figure in full."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator='\n')
    figures = [
        any(not isinstance(entry, str) for entry in column)
        for column in zip(*table.rows)
    ]
    parts = ('mean', 'std', 'n')
    for line in (table.headings, *table.rows):
        cells: list = []
        for entry, is_figure in zip(line, figures):
            if isinstance(entry, Cell):
                cells += [entry.mean, entry.std, entry.n]
            elif not is_figure:
                cells.append(entry)
            elif line is table.headings:
                cells += [f'{entry} {part}' for part in parts]
            else:
                cells += ['', '', '']
        writer.writerow(cells)
    return out.getvalue()


def write_tables(
    out: str | Path,
    tables: Sequence[Table],
    records: Sequence[dict],
    pretrainings: Sequence[Pretraining],
    note: str = '',
) -> None:
    """Write ``tables.md``, ``tables.json`` and one CSV file per table to a folder.

    Args:
        out (str or Path): The folder; made if missing.
        tables (Sequence[Table]): From :func:`make_tables`.
        records (Sequence[dict]): What they were made from, for ``tables.json``.
        pretrainings (Sequence[Pretraining]): Likewise.
        note (str): Further words on the figures. Defaults to none.
    """
    out = Path(out)
    write_atomically(out / 'tables.md', to_markdown(tables, note).encode())
    report = dict(
        tables=[
            dict(
                title=table.title,
                rows=[
                    dict(zip(table.headings, map(_plain, row))) for row in table.rows
                ],
            )
            for table in tables
        ],
        records=records,
        pretrainings=[
            dict(run._asdict(), recipe=run.recipe._asdict()) for run in pretrainings
        ],
    )
    write_atomically(out / 'tables.json', json.dumps(report, indent=2).encode())
    for table in tables:
        write_atomically(out / f'{table.file_name}.csv', to_csv(table).encode())


def _plain(entry: str | Cell | None) -> Any:
    if not isinstance(entry, Cell):
        return entry
    return dict(mean=entry.mean, std=entry.std, n=entry.n, values=list(entry.values))
