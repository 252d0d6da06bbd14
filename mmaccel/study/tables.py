"""A study's tables as markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from mmaccel.errors import ConfigError
from mmaccel.evaluation.curves import Curve
from mmaccel.evaluation.tables import Cell

from .summary import ACCURACIES, MEASURES, SECONDS, TIMES, Group, Groups

_DIFF = '-diff'
_MISSING = '-'  # what was not measured
_CLOCK = 'default_hooks.throughput.clock'  # an option of a run
COLUMNS = (
    'epochs',
    'n',
    *MEASURES,
    'ratio',
    *(name + _DIFF for name in ACCURACIES),
)
_RELATIVE = ('ratio', *(name + _DIFF for name in ACCURACIES))


def groups_table(
    groups: Groups,
    rows: Sequence[tuple[Group, str]],
    columns: Sequence[str],
    reference: str | None = None,
    heading: str = 'run',
) -> str:
    """A table with a row for each group.

    Args:
        groups (Groups): The study's.
        rows (Sequence[tuple]): Groups and their labels.
        columns (Sequence[str]): Some of :data:`COLUMNS`.
        reference (str, optional): What times and accuracies are relative to.
        heading (str): Of the labels. Defaults to ``'run'``.

    Raises:
        ConfigError: If a column is unknown or empty, or needs a reference.
    """
    unknown = [name for name in columns if name not in COLUMNS]
    if unknown:
        raise ConfigError(
            f'there is no column {unknown[0]}; there are {", ".join(COLUMNS)}'
        )
    relative = [name for name in columns if name in _RELATIVE]
    if relative and reference is None:
        raise ConfigError(f'the column {relative[0]} needs a reference: GROUP')
    cells = [
        [_text(groups, group, name, reference) for group, _ in rows] for name in columns
    ]
    for name, column in zip(columns, cells):
        if all(text == _MISSING for text in column):
            raise ConfigError(f'no row has anything in the column {name}')
    table = _markdown(
        [heading, *(_heading(name) for name in columns)],
        [[label, *line] for (_, label), line in zip(rows, zip(*cells))],
    )
    timed = [name for name in columns if name in TIMES or name == 'ratio']
    shown = [group for group, _ in rows]
    if relative and reference is not None:
        shown += [groups.reference(reference, group) for group in shown]
    return _join(table, *notes(shown, bool(timed)))


def stages_table(
    rows: Sequence[tuple[Group, str]], split: str, heading: str = 'run'
) -> str:
    """Accuracy of a linear probe of every stage's features, a row for each group.

    Raises:
        ConfigError: If a group has no run whose stages were judged on the split.
    """
    names = sorted(
        {
            name
            for group, _ in rows
            for record in group.finished
            for name in record.get(split, {}).get('stages', ())
        },
        key=lambda name: (name == 'Final', name),
    )
    lines = []
    for group, label in rows:
        judged = [r for r in group.finished if 'stages' in r.get(split, {})]
        if group.n and not judged:
            raise ConfigError(f'no run of {group.name} has stages judged on {split}')
        line = [label]
        for name in names:
            values = tuple(record[split]['stages'][name] for record in judged)
            line.append(_spread(Cell(values), '.1f', group.n) if values else _MISSING)
        lines.append(line)
    if not names:
        raise ConfigError(f'no row has stages judged on {split}')
    return _join(_markdown([heading, *names], lines), *notes(g for g, _ in rows))


def epochs_table(
    curves: Sequence[Curve],
    published: Mapping[str, Mapping[float, float]] | None = None,
    heading: str = 'kNN at epoch',
) -> str:
    """Accuracies at each epoch at which one of the curves has one.

    Args:
        curves (Sequence[Curve]): Epochs for steps.
        published (Mapping, optional): Label to accuracies (percent) by epoch.
        heading (str): Of the labels. Defaults to ``'kNN at epoch'``.
    """
    ours = {curve.label: dict(zip(curve.step, curve.mean)) for curve in curves}
    epochs = sorted({epoch for points in ours.values() for epoch in points})
    rows = [
        [label, *(f'{points[e]:.1f}' if e in points else _MISSING for e in epochs)]
        for label, points in {**(published or {}), **ours}.items()
    ]
    return _markdown([heading, *(f'{epoch:g}' for epoch in epochs)], rows)


def runs_list(groups: Sequence[Group]) -> str:
    """How much was run, for how long, where and with what."""
    finished = [record for group in groups for record in group.finished]
    failed = [record for group in groups for record in group.failed]
    trained = [SECONDS.read(record) or 0 for record in finished]
    # what a run did before it was killed is not in its seconds_elapsed
    elapsed = [max(r['seconds_elapsed'], t) for r, t in zip(finished, trained)]
    elapsed += [record['seconds_elapsed'] for record in failed]
    lines = [
        f'- {len(finished) + len(failed)} runs in {len(groups)} groups: '
        f'{len(finished)} finished, {len(failed)} failed',
        f'- {sum(trained) / 3600:.1f} hours of training in finished runs; '
        f'{sum(elapsed) / 3600:.1f} hours in all, evaluation and failures included',
    ]
    for title, describe in (
        ('device', lambda r: r['device']),
        ('versions', lambda r: ', '.join(f'{k} {v}' for k, v in _versions(r))),
    ):
        lines += _counted(title, describe, [*finished, *failed])
    return _join('\n'.join(lines), *notes(groups))


def notes(groups: Iterable[Group], timed: bool = False) -> list[str]:
    """What a reader must know of some groups beside their figures.

    Args:
        groups (Iterable[Group]): Those shown.
        timed (bool): Whether their times are shown; they are then to be of one
            device, number of processes at once and clock. Defaults to False.
    """
    groups = list({group.name: group for group in groups}.values())
    out = []
    failed = [record['name'] for group in groups for record in group.failed]
    if failed:
        runs = (
            '1 failed run is' if len(failed) == 1 else f'{len(failed)} failed runs are'
        )
        out.append(f'{runs} not counted: {", ".join(failed)}.')
    settings: dict[str, list[str]] = {}
    for group in groups:
        for record in group.finished:
            where = f'{record["device"]} with {record["jobs"]} at once'
            if record['run']['options'].get(_CLOCK) == 'cpu':
                where += ', processor time'
            names = settings.setdefault(where, [])
            if group.name not in names:
                names.append(group.name)
    if timed and len(settings) > 1:
        where = '; '.join(f'{k} ({", ".join(v)})' for k, v in sorted(settings.items()))
        out.append(f'Times of different settings do not compare: {where}.')
    return out


def _text(groups: Groups, group: Group, column: str, reference: str | None) -> str:
    if column == 'epochs':
        return str(group.epochs)
    if column == 'n':
        return str(group.n)
    if column in MEASURES:
        measure = MEASURES[column]
        cell = group.cell(measure)
        return _MISSING if cell is None else _spread(cell, measure.form, group.n)
    assert reference is not None
    if column == 'ratio':
        if group.cell(SECONDS) is None:
            return _MISSING
        against = groups.reference(reference, group)
        return f'{group.mean(SECONDS) / against.mean(SECONDS):.2f}'
    measure = ACCURACIES[column[: -len(_DIFF)]]
    against = groups.reference(reference, group)
    if group.cell(measure) is None or against.cell(measure) is None:
        return _MISSING
    if group is against:
        return '–'
    difference = round(group.mean(measure) - against.mean(measure), 1)
    return f'{difference + 0.0:+.1f}'.replace('-', '−')  # + 0.0: no negative zero


def _spread(cell: Cell, form: str, n: int) -> str:
    """Mean ± standard deviation, and of how many runs if not of all."""
    spread = '' if cell.std is None else f' ± {cell.std:{form}}'
    return f'{cell.mean:{form}}{spread}' + (f' (n={cell.n})' if cell.n != n else '')


def _heading(column: str) -> str:
    if column in MEASURES:
        return MEASURES[column].heading
    if column.endswith(_DIFF):
        return f'Δ {ACCURACIES[column[: -len(_DIFF)]].heading}'
    return 'relative time' if column == 'ratio' else column


def _markdown(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose first column is text and whose others are figures."""
    rule = ['---', *['---:'] * (len(headings) - 1)]
    return '\n'.join(
        '| ' + ' | '.join(cell.replace('|', '\\|') for cell in line) + ' |'
        for line in (headings, rule, *rows)
    )


def _join(*parts: str) -> str:
    return '\n\n'.join(parts)


def _versions(record: dict) -> list[tuple[str, str]]:
    return sorted(record['versions'].items())


def _counted(
    title: str, describe: Callable[[dict], str], records: Iterable[dict]
) -> list[str]:
    """A line for each description, with the number of runs that have it."""
    counts: dict[str, int] = {}
    for record in records:
        text = describe(record)
        counts[text] = counts.get(text, 0) + 1
    return [f'- {title}: {text} ({counts[text]} runs)' for text in sorted(counts)]
