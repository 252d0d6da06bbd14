"""benchmarks/presets.py, and the table that it fills."""

import json

import pytest

from benchmarks import presets as tool
from mmaccel.errors import ConfigError
from research.study.presets_table import presets_table
from tests.folder_run import write_config

STAGES = [
    dict(until=0.5, exit_probs=(0, 0, 0, 1)),
    dict(until=1.0, exit_probs=(0, 0, 0, 1), entry_probs=(0, 1)),
]


@pytest.fixture(scope='module')
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp('configs')
    baseline = write_config(folder / 'moco.py', folder / 'images')
    recipe = write_config(
        folder / 'accel.py', folder / 'images', True, baseline=baseline
    )
    hooks = [dict(type='PartialBackpropHook', schedule=STAGES)]
    settings = {'model.crop_layer': None, 'custom_hooks': hooks, 'baseline': baseline}
    write_config(folder / 'accel-freeze.py', folder / 'images', True, **settings)
    return recipe


@pytest.mark.parametrize('rounds', [0, 1])
def test_presets_beside_their_baseline(recipe, tmp_path, rounds):
    out = tmp_path / 'presets.json'
    argv = [recipe, '--rounds', str(rounds), '--batch-size', '4', '--json', str(out)]
    assert tool.main(argv) == 0
    rows = json.loads(out.read_text())['recipes'][recipe]['presets']
    baseline, paper, freeze = rows
    assert [row['name'] for row in rows] == ['baseline', 'paper', 'freeze']
    assert baseline['operations'] == 1
    assert paper['operations'] < freeze['operations'] < 1
    assert all((row['time'] is not None) == bool(rounds) for row in rows)

    table, how = presets_table(out)
    lines = table.splitlines()[2:]
    assert len(lines) == 2 and f'{freeze["operations"]:.2f}' in lines[1]
    assert ('1 rounds' in how) == bool(rounds)


def test_a_table_without_figures_names_the_command(tmp_path):
    with pytest.raises(ConfigError, match='benchmarks/presets.py'):
        presets_table(tmp_path / 'none.json')
