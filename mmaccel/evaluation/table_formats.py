"""Tables of results as markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from typing import Any

from .paper import DAYS
from .tables import Row, Table

_NOTE = """\
Mean ± sample standard deviation over n runs; a single run has no ±; a cell is empty
where nothing was measured. Days are training time, evaluation excluded; GPU-days are
days times the number of devices named.
"""
_PAPER_NOTE = """
Columns headed "paper" quote the paper (its days are on 8 TITAN V 12 GB). All others are
measurements of the runs collected here.
"""


def to_markdown(tables: Sequence[Table], paper: bool = False) -> str:
    """All tables as one text.

    Args:
        tables (Sequence[Table]): From :func:`mmaccel.evaluation.tables.make_tables`.
        paper (bool): Whether to add the paper's figures. Defaults to False.
    """
    parts = ['# Results', _NOTE + (_PAPER_NOTE if paper else '')]
    for table in tables:
        headings, rows = _columns(table, paper)
        lines = [
            f'## {table.title}',
            '',
            _line(headings),
            _line(['---'] * len(headings)),
        ]
        parts.append('\n'.join(lines + [_line(row) for row in rows]) + '\n')
    return '\n\n'.join(part.rstrip('\n') for part in parts) + '\n'


def to_csv(table: Table, paper: bool = False) -> str:
    """One table, with mean, standard deviation and n of each figure in full."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator='\n')
    parts = ('mean', 'std', 'n')
    quoted = _quoted(table, paper)
    heads = [f'{m.heading} {part}' for m in table.measures for part in parts]
    papers = [f'paper {heading}' for heading in quoted]
    writer.writerow([*table.labels, *heads, 'device', 'protocol', *papers])
    for row in table.rows:
        cells: list = []
        for measure in table.measures:
            cell = row.cells.get(measure.heading)
            cells += ['', '', ''] if cell is None else [cell.mean, cell.std, cell.n]
        figures = [row.paper.get(heading, '') for heading in quoted]
        writer.writerow([*row.labels, *cells, row.device, row.protocol, *figures])
    return out.getvalue()


def to_json(tables: Sequence[Table], paper: bool = False) -> list[dict]:
    """All tables as plain objects; a cell is null where nothing was measured."""
    return [
        dict(
            title=table.title,
            number=table.number,
            dataset=table.dataset,
            rows=[_object(table, row, paper) for row in table.rows],
        )
        for table in tables
    ]


def file_name(table: Table) -> str:
    """Name for a table's file, without ending: ``table1`` or from its title."""
    if table.number is not None:
        return f'table{table.number}'
    return re.sub(r'[^a-z0-9]+', '-', table.title.lower()).strip('-')


def _object(table: Table, row: Row, paper: bool) -> dict[str, Any]:
    cells = {}
    for measure in table.measures:
        cell = row.cells.get(measure.heading)
        cells[measure.heading] = cell and dict(
            mean=cell.mean, std=cell.std, n=cell.n, values=list(cell.values)
        )
    out = dict(
        zip(table.labels, row.labels),
        ours=cells,
        device=row.device,
        protocol=row.protocol,
    )
    if _quoted(table, paper):
        out['paper'] = row.paper
    return out


def _columns(table: Table, paper: bool) -> tuple[list[str], list[list[str]]]:
    quoted = _quoted(table, paper)
    headings = list(table.labels)
    for measure in table.measures:
        if measure.heading in quoted:
            headings.append(f'paper {measure.heading}')
        headings.append(measure.heading)
    timed = DAYS in table.measures
    protocols = any(row.protocol for row in table.rows)
    headings += ['device'] * timed + ['protocol'] * protocols
    rows = []
    for row in table.rows:
        cells = list(row.labels)
        for measure in table.measures:
            if measure.heading in quoted:
                cells.append(row.paper.get(measure.heading, ''))
            cell = row.cells.get(measure.heading)
            cells.append('' if cell is None else cell.text(measure.metric))
        rows.append(cells + [row.device] * timed + [row.protocol] * protocols)
    return headings, rows


def _quoted(table: Table, paper: bool) -> list[str]:
    """Headings of the columns that the paper has figures for."""
    if not paper or table.number is None:
        return []
    present = {heading for row in table.rows for heading in row.paper}
    return [m.heading for m in table.measures if m.heading in present]


def _line(cells: Sequence[str]) -> str:
    return '| ' + ' | '.join(cell.replace('|', '\\|') for cell in cells) + ' |'
