"""Marked blocks of a report: what a tool is to write where."""

from __future__ import annotations

import re
from typing import NamedTuple

from mmaccel.errors import ConfigError

#: Options of each kind of block.
KINDS = {
    'table': ('columns', 'reference', 'heading'),
    'stages': ('split', 'heading'),
    'runs': (),
    'curves': ('alt',),
    'epochs': ('published', 'heading', 'alt'),
    'frontier': ('reference', 'accuracy', 'line', 'alt'),
}
PICTURES = ('curves', 'epochs', 'frontier')
_LABELS = 'labels'
_MARK = re.compile(r'<!--\s*study:\s*(.*?)\s*-->|<!--\s*/study\s*-->', re.DOTALL)


class Block(NamedTuple):
    """A marked block.

    ``name`` is its picture's file, or anything; ``options`` have a value for each line
    that gives one; ``rows`` hold the groups' names or patterns and their labels, None
    where the block gives none; its content is ``text[start:end]``, begun in ``line``.
    """

    kind: str
    name: str
    options: dict[str, list[str]]
    rows: dict[str, str | None]
    line: int
    start: int = 0
    end: int = 0

    @property
    def title(self) -> str:
        """What messages call it."""
        return f'{self.kind} {self.name}'.strip() + f' (line {self.line})'

    def option(self, name: str, default: str | None = None) -> str | None:
        """An option that is given once or not at all."""
        return self.options.get(name, [default])[-1]

    def require(self, name: str) -> str:
        """An option that has no default.

        Raises:
            ConfigError: If it is missing.
        """
        value = self.option(name)
        if not value:
            raise ConfigError(f'a {self.kind} needs a line "{name}: ..."')
        return value


def read_blocks(text: str) -> tuple[list[Block], dict[str, str | None]]:
    """All blocks of a report in their order, and the labels that hold for all.

    Raises:
        ConfigError: With the line, if a marker cannot be understood, a block does not
            end, or two blocks write one picture.
    """
    blocks: list[Block] = []
    labels: dict[str, str | None] = {}
    opened: Block | None = None
    for match in _MARK.finditer(text):
        line = text.count('\n', 0, match.start()) + 1
        if match[1] is None:
            if opened is None:
                raise ConfigError(f'line {line}: <!-- /study --> ends no block')
            blocks.append(opened._replace(end=match.start()))
            opened = None
            continue
        if opened is not None:
            raise ConfigError(f'{opened.title} has no <!-- /study --> before {line}')
        try:
            block = _read(match[1], line)
        except ConfigError as error:
            raise ConfigError(f'line {line}: {error}') from error
        if block.kind == _LABELS:
            labels.update(block.rows)
        else:
            opened = block._replace(start=match.end())
    if opened is not None:
        raise ConfigError(f'{opened.title} has no <!-- /study -->')
    files = [block.name for block in blocks if block.kind in PICTURES]
    twice = sorted({name for name in files if files.count(name) > 1})
    if twice:
        raise ConfigError(f'two blocks draw {twice[0]}')
    return blocks, labels


def _read(marker: str, line: int) -> Block:
    first, *lines = marker.split('\n')
    kind, _, name = first.strip().partition(' ')
    if kind not in KINDS and kind != _LABELS:
        raise ConfigError(f'{kind!r} is none of {", ".join((*KINDS, _LABELS))}')
    if kind in PICTURES and not re.fullmatch(r'[\w.-]+\.png', name.strip()):
        raise ConfigError(f'{kind} needs the name of a file such as {kind}.png')
    block = Block(kind, name.strip(), {}, {}, line)
    for entry in filter(None, map(str.strip, lines)):
        key, colon, value = (part.strip() for part in entry.partition(':'))
        if '/' in key:
            block.rows[key] = value or None
        elif colon and key in KINDS.get(kind, ()):
            block.options.setdefault(key, []).append(value)
        else:
            options = ''.join(f', "{name}: ..."' for name in KINDS.get(kind, ()))
            raise ConfigError(
                f'{entry!r} is not understood; {kind} takes "METHOD/VARIANT: LABEL"'
                f'{options}'
            )
    return block
