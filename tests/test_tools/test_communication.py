"""benchmarks/communication.py."""

import copy
import importlib.util
import json
from pathlib import Path

import pytest

from tests.processes import fork_ranks
from tests.test_analysis.test_cost import config

TOOL = Path(__file__).parents[2] / 'benchmarks' / 'communication.py'


def test_bytes_stand_beside_upstreams(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location('communication', TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    configs = {'upstream': config(accel=False), 'ours': config()}
    configs['ours'].baseline = 'upstream'
    monkeypatch.setattr(tool, 'load_config', lambda name: copy.deepcopy(configs[name]))
    out = tmp_path / 'communication.json'
    argv = ['ours', '--batch-size', '4', '--rounds', '2', '--json', str(out)]
    args = tool.parse_args(argv)
    fork_ranks(lambda rank: tool.measure(rank, args))
    report = json.loads(out.read_text())
    rows = report['rows']
    assert report['n'] == 2 and report['ranks'] == 2
    trained = sum(
        p.numel()
        for name, p in tool.StepRunner(config(accel=False), 4).model.named_parameters()
        if p.requires_grad
    )
    upstream = rows['upstream']
    assert upstream['reduced_mb']['median'] == pytest.approx(4 * trained / 2**20, 1e-5)
    assert upstream['bytes_ratio']['median'] == 1
    ours, torchs = (rows[f'ours, {name}'] for name in ('stagewise', 'torch'))
    assert ours['bytes_ratio']['max'] < 0.5 < 1 <= torchs['bytes_ratio']['min']
    assert all(row['step_ms']['median'] > 0 for row in rows.values())
