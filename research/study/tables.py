"""A study's tables as markdown, and single figures of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from mmaccel.errors import ConfigError
from mmaccel.evaluation.curves import Curve
from mmaccel.evaluation.tables import Cell, grouped, markdown_table

from .speedup import OPERATIONS, TIME
from .summary import (
    ACCURACIES,
    METRICS,
    SECONDS,
    SPEEDUPS,
    TIMES,
    Group,
    Groups,
    Speedup,
)

_DIFF = '-diff'
_MISSING = '-'  # what was not measured
_SAME = '–'  # what is compared with itself
_NOT_GIVEN = '—'  # for a reason, which a note says
_HELD_OUT = 'ʰ'
_CLOCK = 'default_hooks.throughput.clock'  # an option of a run
_OWN = {'epochs': 'epochs', 'n': 'n', **{k: m.heading for k, m in METRICS.items()}}
_RELATIVE = {
    'ratio': 'relative time',
    **{k + _DIFF: f'Δ {metric.heading}' for k, metric in ACCURACIES.items()},
}
_COSTS = {
    'speedup-knn': 'speed-up, kNN',
    'speedup-linear': 'speed-up, linear',
    'step': 'relative step',
    'by': 'by',
}
#: Columns and their headings.
COLUMNS = {**_OWN, **_RELATIVE, **_COSTS, 'equal-time': 'Δ kNN, equal time'}


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
    cells = [
        [entry(groups, group, name, reference) for group, _ in rows] for name in columns
    ]
    for name, column in zip(columns, cells):
        if all(text == _MISSING for text in column):
            raise ConfigError(f'no row has anything in the column {name}')
    table = markdown_table(
        [heading, *(COLUMNS[name] for name in columns)],
        [[label, *line] for (_, label), line in zip(rows, zip(*cells))],
        labels=1,
    )
    shown = [group for group, _ in rows]
    if reference is not None and set(columns) & set(_RELATIVE):
        shown += [groups.reference(reference, group) for group in shown]
    timed = bool(set(TIMES) & set(columns))
    told = _speedup_notes(groups, rows, columns)
    return _join(table, *told, *notes(shown, timed))


def entry(
    groups: Groups, group: Group, column: str, reference: str | None = None
) -> str:
    """One figure of a group, as its column shows it.

    Raises:
        ConfigError: If the column is unknown or needs a reference.
    """
    if column not in COLUMNS:
        raise ConfigError(
            f'there is no column {column}; there are {", ".join(COLUMNS)}'
        )
    if column in ('epochs', 'n'):
        return str(getattr(group, column))
    if column in METRICS:
        cell = group.cell(METRICS[column])
        return _MISSING if cell is None else _of_all(cell, group.n)
    if column in _COSTS:
        return _cost_entry(groups, group, column) if group.n else _MISSING
    if column == 'equal-time':
        baseline = groups.at_equal_time(group) if group.n else None
        if baseline is None:
            return _MISSING
        if group in groups.baselines(group):
            return _SAME
        return _signed(group.mean(ACCURACIES['knn']) - baseline)
    if reference is None:
        raise ConfigError(f'the column {column} needs a reference')
    against = groups.reference(reference, group)
    if column == 'ratio':
        time = groups.relative_time(group, against) if group.n else None
        return _MISSING if time is None else f'{time:.2f}'
    metric = ACCURACIES[column[: -len(_DIFF)]]
    if group.cell(metric) is None or against.cell(metric) is None:
        return _MISSING
    if group is against:
        return _SAME
    return _signed(group.mean(metric) - against.mean(metric))


def _cost_entry(groups: Groups, group: Group, column: str) -> str:
    cost = groups.cost(group)
    if column == 'step':
        return _NOT_GIVEN if cost is None else f'{cost.ratio:.2f}'
    if column == 'by':
        if cost is None or not cost.by:
            return _SAME if cost else _NOT_GIVEN
        beside = f' ({OPERATIONS} {cost.operations:.2f})' if cost.by == TIME else ''
        return cost.by + beside
    kind = column.removeprefix('speedup-')
    found = groups.speedup(group, kind)
    if not isinstance(found, Speedup):
        return _NOT_GIVEN if found else _MISSING
    mark = _HELD_OUT if found.metric is not SPEEDUPS[kind][0] else ''
    return _of_all(found.cell, group.n) + mark


def _speedup_notes(
    groups: Groups, rows: Sequence[tuple[Group, str]], columns: Sequence[str]
) -> list[str]:
    """Which speed-ups are on held-out images, and why others are not given."""
    reasons: dict[str, dict[str, None]] = {}
    held_out = False
    for kind in SPEEDUPS:
        shown = [row for row in rows if row[0].n and f'speedup-{kind}' in columns]
        for group, label in shown:
            found = groups.speedup(group, kind)
            if isinstance(found, Speedup):
                held_out |= found.metric is not SPEEDUPS[kind][0]
            elif found:
                reasons.setdefault(f'{kind}, {found}', {})[label] = None
    told = [f'{why} ({"; ".join(who)})' for why, who in reasons.items()]
    out = [f'{_NOT_GIVEN} No speed-up: {"; ".join(told)}.'] if told else []
    if held_out:
        out.append(
            f'{_HELD_OUT} On held-out images: the run, or baselines below and above '
            'it, were not evaluated on the test split.'
        )
    return out


def stages_table(
    rows: Sequence[tuple[Group, str]], split: str, heading: str = 'run'
) -> str:
    """Accuracy of a linear probe of every stage's features, a row for each group.

    Raises:
        ConfigError: If a group has no run whose stages were evaluated on the split.
    """
    found = [
        [r[split]['stages'] for r in group.finished if 'stages' in r.get(split, {})]
        for group, _ in rows
    ]
    names = {name for stages in found for probe in stages for name in probe}
    stages = sorted(names, key=lambda name: (name == 'Final', name))
    lines = []
    for (group, label), probes in zip(rows, found):
        if group.n and not probes:
            raise ConfigError(f'no run of {group.name} has stages evaluated on {split}')
        cells = [Cell(tuple(probe[name] for probe in probes)) for name in stages]
        texts = [_of_all(cell, group.n) if probes else _MISSING for cell in cells]
        lines.append([label, *texts])
    if not stages:
        raise ConfigError(f'no row has stages evaluated on {split}')
    table = markdown_table([heading, *stages], lines, labels=1)
    return _join(table, *notes(group for group, _ in rows))


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
    return markdown_table(
        [heading, *(f'{epoch:g}' for epoch in epochs)], rows, labels=1
    )


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
    describe: dict[str, Callable[[dict], str]] = {
        'device': _device,
        'versions': lambda r: ', '.join(
            f'{k} {v}' for k, v in sorted(r['versions'].items())
        ),
    }
    for title, text_of in describe.items():
        alike = grouped([*finished, *failed], text_of)
        lines += [
            f'- {title}: {text} ({len(alike[text])} runs)' for text in sorted(alike)
        ]
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
        one = len(failed) == 1
        runs = '1 failed run is' if one else f'{len(failed)} failed runs are'
        out.append(f'{runs} not counted: {", ".join(failed)}.')
    settings: dict[str, dict[str, None]] = {}
    for group in groups:
        for record in group.finished:
            where = f'{_device(record)} with {record["jobs"]} at once'
            if record['run']['options'].get(_CLOCK) == 'cpu':
                where += ', processor time'
            settings.setdefault(where, {})[group.name] = None
    if timed and len(settings) > 1:
        where = '; '.join(f'{k} ({", ".join(v)})' for k, v in sorted(settings.items()))
        out.append(f'Times of different settings do not compare: {where}.')
    return out


def _device(record: dict) -> str:
    """Where a run was, with the instructions that its processor has, if recorded."""
    abilities = record.get('abilities') or ()
    return record['device'] + (f' ({" ".join(abilities)})' if abilities else '')


def _of_all(cell: Cell, n: int) -> str:
    """A figure, and of how many runs if not of all."""
    return f'{cell}' + (f' (n={cell.n})' if cell.n != n else '')


def _signed(difference: float) -> str:
    text = f'{round(difference, 1) + 0.0:+.1f}'  # + 0.0: no negative zero
    return text.replace('-', '−')


def _join(*parts: str) -> str:
    return '\n\n'.join(parts)
