"""Work and least time of a step, by hand."""

import json

import pytest
import torch
from torch import nn

from benchmarks import roofline as tool
from benchmarks.ceilings import Ceilings, measure_ceilings, roofline_of_step


class Step:
    """One linear layer, forward and backward, and an update."""

    def __init__(self, n, d):
        self.layer = nn.Linear(d, d, bias=False)
        self.x = torch.ones(n, d)

    def step(self, plan):
        out = self.layer(self.x)
        out.backward(torch.ones_like(out))
        with torch.no_grad():
            self.layer.weight.sub_(self.layer.weight.grad)


def test_a_linear_layers_step_by_hand():
    n, d = 64, 32
    found = roofline_of_step(Step(n, d), Ceilings(flops=1e3, bytes=1e9))
    assert found.flops == 2 * (2 * n * d * d)  # forward, and the weight's gradient
    maps, weight = 4 * n * d, 4 * d * d
    products = 2 * (2 * maps + weight)
    ones, update = 2 * maps, 3 * weight
    assert found.bytes == products + ones + update
    # by far the slower of the two ceilings
    assert found.seconds == pytest.approx(found.flops / 1e3, rel=0.01)


def test_the_other_ceiling_counts_where_it_is_lower():
    found = roofline_of_step(Step(64, 32), Ceilings(flops=1e18, bytes=1e3))
    assert found.seconds == pytest.approx(found.bytes / 1e3, rel=0.01)


def test_ceilings_are_of_a_computer():
    ceilings = measure_ceilings(rounds=1)
    assert 1e8 < ceilings.flops < 1e15
    assert 1e8 < ceilings.bytes < 1e14


def test_the_command_sets_each_exit_beside_the_baseline(tmp_path, monkeypatch, capsys):
    ceilings = Ceilings(flops=1e9, bytes=1e9)
    monkeypatch.setattr('benchmarks.ceilings.measure_ceilings', lambda: ceilings)
    out = tmp_path / 'roofline.json'
    config = 'configs/small/accel-mocov2_r18_cifar10.py'
    argv = [config, '--batch-size', '2', '--size', '16', '--json', str(out)]
    assert tool.main(argv) == 0
    report = json.loads(out.read_text())
    times, probs = report['roofline_ms'], report['exit_probs']
    assert list(times) == ['1', '2', '3', '4', 'baseline', 'expected']
    assert times['1'] < times['2'] < times['3'] < times['4'] < times['baseline']
    expected = sum(p * times[name] for name, p in probs.items())
    assert times['expected'] == pytest.approx(expected, abs=0.1)
    assert report['ratio'] == pytest.approx(expected / times['baseline'], abs=1e-3)
    assert f'ratio{report["ratio"]:21.3f}' in capsys.readouterr().out
