"""The table of presets: what each costs and what is known of its accuracy."""

import json
from pathlib import Path

from mmaccel.analysis.evidence import evidence_of
from mmaccel.engine.config import load_config
from mmaccel.errors import ConfigError

_WHAT = {
    'paper': 'exits and windows as published',
    'exact': "upstream's mathematics, our speed",
    'freeze': 'first stages freeze late',
    'best': 'what our study recommends',
}


def presets_table(file: Path) -> tuple[str, str]:
    """A table of recipes and their presets, and a line on how they were measured.

    Args:
        file (Path): What ``benchmarks/presets.py`` wrote.

    Raises:
        ConfigError: If there is no such file.
    """
    if not file.is_file():
        raise ConfigError(f'there is no {file}; benchmarks/presets.py writes it')
    found = json.loads(file.read_text())
    lines = [
        '| config | what it is | operations | time | accuracy, and the evidence |',
        '|---|---|---|---|---|',
    ]
    for recipe in found['recipes'].values():
        for row in recipe['presets']:
            if row['name'] == 'baseline':
                continue
            evidence = evidence_of(load_config(row['config']))
            lines.append(
                f'| `{row["config"]}` | {_WHAT[row["name"]]} | '
                f'{row["operations"]:.2f} | {_range(row["time"])} | {evidence} |'
            )
    return '\n'.join(lines), _how(found)


def _range(time: dict | None) -> str:
    if time is None:
        return ''
    return f'{time["median"]:.2f} ({time["min"]:.2f}–{time["max"]:.2f})'


def _how(found: dict) -> str:
    words = (
        'Operations and time of an epoch relative to the baseline that the config '
        'names, weighted by its schedule. '
    )
    if not found['rounds']:
        return f'{words}Times were not measured.'
    batches = {recipe['batch_size'] for recipe in found['recipes'].values()}
    return (
        f'{words}Time: median (smallest to largest) of {found["rounds"]} rounds, in '
        f'which all presets of a recipe step in turn; {found["device"]}, '
        f'{found["threads"]} thread(s), torch {found["torch"]}, batches of '
        f'{" and ".join(map(str, sorted(batches)))} images.'
    )
