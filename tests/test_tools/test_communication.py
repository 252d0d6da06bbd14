"""benchmarks/communication.py."""

import copy
import json

import pytest

from benchmarks import communication, wrappers
from tests.processes import fork_ranks
from tests.test_analysis.test_cost import config


def test_bytes_stand_beside_upstreams(tmp_path, monkeypatch):
    configs = {'upstream': config(accel=False), 'ours': config()}
    configs['ours'].baseline = 'upstream'
    monkeypatch.setattr(
        wrappers, 'load_config', lambda name: copy.deepcopy(configs[name])
    )
    out = tmp_path / 'communication.json'
    argv = ['ours', '--batch-size', '4', '--rounds', '2', '--json', str(out)]
    args = communication.parse_args(argv)
    fork_ranks(lambda rank: wrappers.measure(rank, args))
    report = json.loads(out.read_text())
    rows = report['rows']
    assert report['n'] == 2 and report['ranks'] == 2
    model = wrappers.StepRunner(config(accel=False), 4).model
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    upstream = rows['upstream']
    assert upstream['reduced_mb']['median'] == pytest.approx(4 * trained / 2**20, 1e-5)
    assert upstream['bytes_ratio']['median'] == 1
    ours, torchs = (rows[f'ours, {name}'] for name in ('stagewise', 'torch'))
    assert ours['bytes_ratio']['max'] < 0.5 < 1 <= torchs['bytes_ratio']['min']
    assert all(row['step_ms']['median'] > 0 for row in rows.values())
