"""A report whose tables and pictures come from the records, its words from a person."""

from __future__ import annotations

import fnmatch
from pathlib import Path
from typing import NamedTuple

from mmaccel.errors import ConfigError
from mmaccel.fileio import write_atomically

from .markers import PICTURES, Block, read_blocks
from .plots import Plot, curves_plot, epochs_plot, frontier_plot, mean_curves
from .summary import Group, Groups
from .tables import epochs_table, groups_table, notes, runs_list, stages_table

_ALT = {
    'curves': 'Accuracy against training time',
    'epochs': 'Accuracy by epoch',
    'frontier': 'Final accuracy against relative training time',
}


class Filled(NamedTuple):
    """A block's content as it should be, and its picture if it has one."""

    content: str
    plot: Plot | None = None


class Report:
    """A report and what its marked blocks should hold.

    Args:
        path (str or Path): Markdown with blocks; pictures lie beside it.
        records (Sequence[dict]): From :func:`mmaccel.study.records.read_records`.

    Raises:
        ConfigError: If a block cannot be understood or filled.
    """

    def __init__(self, path: str | Path, records: list[dict]) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise ConfigError(
                f'there is no report {path}; write one with blocks, --help shows how'
            )
        self.text = self.path.read_text(encoding='utf-8')
        self.groups = Groups(records)
        try:
            self.blocks, self.labels = read_blocks(self.text)
        except ConfigError as error:
            raise ConfigError(f'{path}, {error}') from error
        self.filled = [self._fill(block) for block in self.blocks]

    def outdated(self) -> list[str]:
        """Blocks and pictures that do not show the records."""
        out = []
        for block, filled in zip(self.blocks, self.filled):
            if self.text[block.start : block.end] != filled.content:
                out.append(block.title)
            if filled.plot and not filled.plot.is_drawn(self._picture(block)):
                out.append(block.name)
        return out

    def write(self) -> None:
        """Draw every picture, then fill every block.

        The text comes last: one that was interrupted is known to be out of date.
        """
        parts, end = [], 0
        for block, filled in zip(self.blocks, self.filled):
            if filled.plot:
                filled.plot.draw(self._picture(block))
            parts += [self.text[end : block.start], filled.content]
            end = block.end
        text = ''.join([*parts, self.text[end:]])
        write_atomically(self.path, text.encode())

    def _picture(self, block: Block) -> Path:
        return self.path.parent / block.name

    def _fill(self, block: Block) -> Filled:
        try:
            if block.kind in PICTURES:
                return self._picture_block(block)
            return Filled(f'\n\n{self._table(block)}\n\n')
        except ConfigError as error:
            raise ConfigError(f'{self.path}, {block.title}: {error}') from error

    def _table(self, block: Block) -> str:
        heading = block.option('heading') or 'run'
        if block.kind == 'runs':
            return runs_list(
                self.groups.select(block.rows) if block.rows else self.groups.all()
            )
        if block.kind == 'stages':
            split = block.option('split') or 'held_out'
            return stages_table(self._rows(block), split, heading)
        columns = [name.strip() for name in block.require('columns').split(',')]
        return groups_table(
            self.groups,
            self._rows(block),
            columns,
            block.option('reference'),
            heading,
        )

    def _picture_block(self, block: Block) -> Filled:
        rows = self._rows(block)
        shown = [group for group, _ in rows]
        table = []
        if block.kind == 'curves':
            plot = curves_plot(rows)
        elif block.kind == 'epochs':
            published = _published(block)
            plot = epochs_plot(rows, published)
            heading = block.option('heading') or 'kNN at epoch'
            table.append(epochs_table(mean_curves(rows), published, heading))
        else:
            reference = block.require('reference')
            shown += [self.groups.reference(reference, group) for group in shown]
            plot = frontier_plot(
                self.groups,
                rows,
                [self.groups.select(line) for line in _lines(block)],
                reference,
                block.option('accuracy') or 'knn',
            )
        parts = [
            f'![{block.option("alt") or _ALT[block.kind]}]({block.name})',
            *table,
            *notes(shown, timed=block.kind != 'epochs'),
            f'<!-- numbers {plot.hash} -->',
        ]
        return Filled('\n\n' + '\n\n'.join(parts) + '\n\n', plot)

    def _rows(self, block: Block) -> list[tuple[Group, str]]:
        """The block's groups, those of its lines first, and their labels."""
        patterns = [pattern for line in _lines(block) for pattern in line]
        groups = self.groups.select([*patterns, *block.rows])
        if not groups:
            raise ConfigError('it names no group; add lines "METHOD/VARIANT: LABEL"')
        return [(group, self._label(group, block)) for group in groups]

    def _label(self, group: Group, block: Block) -> str:
        """From the block, then from the report; a group's own name before patterns."""
        for labels in (block.rows, self.labels):
            for pattern in (group.name, *labels):
                template = labels.get(pattern)
                if template and fnmatch.fnmatchcase(group.name, pattern):
                    return group.label(template)
        return group.name


def _lines(block: Block) -> list[list[str]]:
    """Names and patterns of each line of a frontier."""
    return [
        [pattern.strip() for pattern in line.split(',')]
        for line in block.options.get('line', ())
    ]


def _published(block: Block) -> dict[str, dict[float, float]]:
    """Curves of others: ``published: LABEL: 1 31.98, 2 33.52``, epochs and percents."""
    curves: dict[str, dict[float, float]] = {}
    for line in block.options.get('published', ()):
        label, _, points = line.rpartition(':')
        curve = curves.setdefault(label.strip(), {})
        try:
            for point in points.split(','):
                epoch, percent = map(float, point.split())
                curve[epoch] = percent
        except ValueError as error:
            raise ConfigError(
                f'the curve {line!r} is not understood; give epochs and percents, '
                'as in "LABEL: 1 31.98, 2 33.52"'
            ) from error
    return curves
