"""benchmarks/compare.py."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from benchmarks import compare as tool
from benchmarks.lightly_step import LightlyRunner, lightly_version
from mmaccel.analysis import Numerics
from mmaccel.engine.config import load_config
from mmaccel.errors import ConfigError
from tests.processes import ROOT
from tests.test_analysis.test_cost import config


def test_wrong_numbers_are_told_at_once():
    for argv in (['--rounds', '0'], ['--batch-size', '1'], ['--precision', 'fp8']):
        with pytest.raises(SystemExit):
            tool.parse_args(argv)


def test_every_row_stands_beside_its_baseline(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr('benchmarks.lightly_step.lightly_version', lambda: None)

    def thin(*args):  # short queues: the rest of the sizes is set by options
        cfg = load_config(*args)
        if 'queue_len' in cfg.model:
            cfg.model.queue_len = 64
        cfg.model.backbone.update(base_channels=8, stem_channels=8)
        cfg.model.neck.hid_channels = 16
        return cfg

    monkeypatch.setattr('mmaccel.engine.config.load_config', thin)
    monkeypatch.setattr(tool, 'CHANNELS', {18: (8, 16, 32, 64)})
    out = tmp_path / 'new' / 'cpu.json'
    argv = '--device cpu --depth 18 --size 48 --batch-size 4 --rounds 2 --warmup 0'
    assert tool.main([*argv.split(), '--json', str(out)]) == 0
    report = json.loads(out.read_text())
    for key in ('device', 'torch', 'mmselfsup', 'mmaccel', 'python', 'config'):
        assert report[key]
    assert report['lightly'] is None
    rows = {(row['method'], row['name']): row for row in report['rows']}
    common = {'upstream as shipped', 'upstream, alike', 'lightly', 'ours'}
    common |= {'ours, cumulative'}
    assert {name for method, name in rows if method == 'simclr'} == common
    assert {name for method, name in rows if method == 'mocov2'} == {
        *common,
        'ours, truncated keys',
    }
    for (_, name), row in rows.items():
        if name == 'lightly':
            assert row['step_ms'] is None and 'pip install lightly' in row['note']
            continue
        shipped = name == 'upstream as shipped'
        assert row['layout'] == ('contiguous' if shipped else 'channels_last')
        assert row['precision'] == 'fp32' and row['n'] == 2
        for key in ('step_ms', 'ratio', 'ratio_alike'):
            assert 0 < row[key]['min'] <= row[key]['median'] <= row[key]['max']
        assert row['peak_memory_mb'] > 0
        exits = {'1', '2', '3', '4'} if name.startswith('ours') else {'step'}
        assert set(row['exit_ms']) == exits
        assert sum(row['exit_probs'].values()) == pytest.approx(1)
        # the expectation lies among the exits
        assert min(s['min'] for s in row['exit_ms'].values()) <= row['step_ms']['min']
        assert row['step_ms']['max'] <= max(s['max'] for s in row['exit_ms'].values())
        if shipped:
            assert set(row['ratio'].values()) == {1}
    printed = capsys.readouterr().out
    assert printed.count('| mocov2 |') == 6 and printed.count('| simclr |') == 5


def test_all_steps_see_the_same_images_and_settings(monkeypatch):
    seen = {}

    def note(variants, rounds, warmup):
        seen.update({v.name: v.runner for v in variants})
        return {v.name: [1.0] * rounds for v in variants}

    monkeypatch.setattr('mmaccel.analysis.measure.time_steps', note)
    memory = 'mmaccel.analysis.memory.peak_memory_mb'
    monkeypatch.setattr(memory, lambda runner, plan: None)
    monkeypatch.setattr('benchmarks.lightly_step.lightly_version', lambda: None)
    argv = '--device cpu --depth 18 --size 32 --batch-size 4 --methods mocov2'
    args = tool.parse_args([*argv.split(), '--precision', 'bf16', '--json', 'x'])
    rows = tool.compare_method('mocov2', args)
    assert {id(runner.images[0]) for runner in seen.values()} == {
        id(seen['upstream as shipped/step'].images[0])
    }
    for name, runner in seen.items():
        precision = 'fp32' if 'shipped' in name else 'bf16'
        assert runner.numerics.precision == precision
    model = seen['ours, truncated keys/1'].model
    assert model.key_forward == 'truncated'
    assert seen['ours/1'].model.key_forward == 'full'
    assert seen['ours, cumulative/4'].model.loss_on == 'cumulative'
    assert {row['peak_memory_mb'] for row in rows if row['step_ms']} == {None}


def test_the_file_to_write_must_be_named(capsys):
    with pytest.raises(SystemExit):
        tool.parse_args(['--device', 'cpu'])
    assert '--json' in capsys.readouterr().err


@pytest.mark.parametrize(
    'arguments, named', [(['--only', 'steps'], '--out'), (['--only', 'bogus'], 'bogus')]
)
def test_measure_asks_for_a_folder_and_knows_its_parts(tmp_path, arguments, named):
    out = ['--out', tmp_path] if named == 'bogus' else []
    script = Path(tool.__file__).with_name('measure.sh')
    done = subprocess.run(
        ['bash', script, *arguments, *out], capture_output=True, text=True
    )
    assert done.returncode == 2 and named in done.stderr
    assert not list(tmp_path.iterdir())


def peer_config(method):
    cfg = config(accel=False)
    cfg.model.backbone.depth = 18
    cfg.model.neck.in_channels = 512
    cfg.model.data_preprocessor = dict(mean=(120.0,) * 3, std=(60.0,) * 3)
    kind = 'LARS' if method == 'SimCLR' else 'SGD'
    cfg.optim_wrapper.optimizer = dict(
        type=kind, lr=0.1, momentum=0.9, weight_decay=1e-4
    )
    if method == 'SimCLR':
        cfg.model.type = 'mmselfsup.SimCLR'
    return Config(cfg.to_dict())


@pytest.mark.parametrize('method', ['MoCo', 'SimCLR'])
def test_lightlys_step_trains(method):
    if lightly_version() is None:
        with pytest.raises(ConfigError, match='pip install lightly'):
            LightlyRunner(peer_config(method), [torch.zeros(4, 3, 32, 32)], Numerics())
        pytest.skip('lightly is not installed; that it is missing is said')
    images = [torch.randint(256, (4, 3, 32, 32), dtype=torch.uint8) for _ in range(2)]
    runner = LightlyRunner(
        peer_config(method), images, Numerics('bf16', 'channels_last')
    )
    assert runner.images[0].is_contiguous(memory_format=torch.channels_last)
    before = [p.detach().clone() for p in runner.model.parameters()]
    runner.step()
    moved = [not torch.equal(a, b) for a, b in zip(before, runner.model.parameters())]
    assert sum(moved) > 0.9 * sum(p.requires_grad for p in runner.model.parameters())
    assert runner.resident_bytes() > sum(4 * p.numel() for p in before)
    kind = type(runner.optimizer)
    assert kind.__name__ == peer_config(method).optim_wrapper.optimizer.type
    if method == 'MoCo':
        bank = runner.model.criterion.memory_bank
        assert bank.bank.shape == (32, 16) and int(bank.bank_ptr) == 4


def test_measure_goes_on_where_it_was_and_ends_with_a_table(tmp_path):
    interpreter = tmp_path / 'python'
    interpreter.write_text(
        '#!/usr/bin/env bash\n'
        f'[[ $1 == *measured.py ]] && exec {sys.executable} "$@"\n'
        f'echo "$*" >>{tmp_path}/calls\n'
        f'cp {ROOT}/benchmarks/results/cpu-mocov2_r50_8xb32.json "${{@: -1}}"\n'
    )
    interpreter.chmod(0o755)
    script = ROOT / 'benchmarks/measure.sh'
    out = tmp_path / 'measured'
    words = ['bash', script, '--out', out, '--only', 'core', '--device', 'cuda']
    env = dict(os.environ, PYTHON=str(interpreter))
    for _ in range(2):
        done = subprocess.run(words, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        rows = [line for line in done.stdout.splitlines() if line.startswith('| ')]
        assert len(rows) == 4 and '0.42' in rows[1]
    assert done.stdout.count('is there') == 3
    assert len((tmp_path / 'calls').read_text().splitlines()) == 3
