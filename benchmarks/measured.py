"""One table of the steps that benchmarks/measure.sh has measured so far."""

from __future__ import annotations

import json
import sys
from pathlib import Path

USAGE = 'usage: python benchmarks/measured.py FOLDER DEVICE'


def table(folder: Path, device: str) -> str:
    """Markdown of the steps in a folder: median (smallest to largest)."""
    lines = [
        '| | batch | n | step, ms | upstream, ms | of shipped | of alike | peak MiB, '
        'worst exit; shipped |',
        '|---|---|---|---|---|---|---|---|',
    ]
    for path in sorted(folder.glob(f'{device}-*.json')):
        report = json.loads(path.read_text())
        if 'step_ms' not in report:
            continue
        peaks = report.get('peak_memory_mb') or {}
        ours = [peak for name, peak in peaks.items() if not name.startswith('baseline')]
        memory = f'{max(ours):.0f}; {peaks.get("baseline", 0):.0f}' if ours else '–'
        cells = [
            path.stem.removeprefix(f'{device}-'),
            report['batch_size'],
            report['n'],
            _spread(report['step_ms']['expected'], 0),
            _spread(report['baseline_step_ms'], 0),
            _spread(report['ratio'], 2),
            _spread(report['ratio_like'], 2),
            memory,
        ]
        lines.append(f'| {" | ".join(map(str, cells))} |')
    return '\n'.join(lines)


def _spread(figure: dict | None, digits: int) -> str:
    if figure is None:
        return '–'
    low, high = (f'{figure[key]:.{digits}f}' for key in ('min', 'max'))
    return f'{figure["median"]:.{digits}f} ({low}–{high})'


def main(argv: list[str]) -> int:
    """Print the table; return the exit code."""
    if len(argv) != 2 or '-h' in argv or '--help' in argv:
        print(USAGE)
        return 0 if {'-h', '--help'} & {*argv} else 2
    print(table(Path(argv[0]), argv[1]))
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
