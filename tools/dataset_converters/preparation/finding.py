"""What a check found, and how it is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

#: Faults named one by one before the rest are counted.
SHOWN = 5


@dataclass
class Finding:
    """How much of one part of a data set is there and in order.

    Args:
        part (str): The part's name.
        found (int): Files or entries in order, of those looked at.
        expected (int): How many there must be.
        faults (dict): By file, what is wrong with it.
        source (str): What gives the part: an archive's name, or a sentence.
    """

    part: str
    found: int
    expected: int
    faults: dict[str, str] = field(default_factory=dict)
    source: str = ''

    @property
    def ok(self) -> bool:
        """Whether the part is complete and nothing was found wrong with it."""
        return self.found == self.expected and not self.faults

    @property
    def verdict(self) -> str:
        """One word for the table."""
        if self.ok:
            return 'ok'
        if not self.found:
            return 'missing'
        return 'incomplete' if self.found < self.expected else 'wrong'


def as_table(findings: Sequence[Finding]) -> str:
    """Part, found, expected and verdict of every finding, one a line."""
    rows = [('part', 'found', 'expected', 'verdict')]
    rows += [(f.part, str(f.found), str(f.expected), f.verdict) for f in findings]
    width = max(len(row[0]) for row in rows)
    return '\n'.join(f'{a:<{width}}  {b:>9}  {c:>9}  {d}' for a, b, c, d in rows)


def explain(findings: Sequence[Finding]) -> str:
    """The faults behind each verdict that is not ok; empty if all are."""
    lines = []
    for finding in findings:
        if not finding.faults:
            continue
        faults = list(finding.faults.items())
        lines.append(f'{finding.part}:')
        lines += [f'  {path}: {fault}' for path, fault in faults[:SHOWN]]
        if len(faults) > SHOWN:
            lines.append(f'  and {len(faults) - SHOWN} more')
    return '\n'.join(lines)
