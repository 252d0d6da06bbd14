"""``mmaccel step``."""

import json

import pytest

from mmaccel.analysis import Numerics
from tests.config_file import write_config
from tests.processes import exit_code
from tests.test_analysis.test_cost import config

EXITS = {'1', '2', '3', '4'}


@pytest.fixture(scope='module')
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp('configs')
    baseline = write_config(folder / 'baseline.py', config(accel=False))
    return write_config(folder / 'accel.py', baseline=baseline)


def run(path, *options):
    common = ('--device', 'cpu', '--batch-size', '4', '--warmup', '0')
    return exit_code('step', path, *common, *options)


def test_rows_columns_and_figures(paths, tmp_path, capsys):
    out = tmp_path / 'new' / 'step.json'
    options = ['--layout', 'channels_last', '--amp', '--baseline-like']  # bf16 on a CPU
    assert run(paths, *options, '--iters', '2', '--json', str(out)) == 0
    report = json.loads(out.read_text())
    assert {'device', 'torch', 'config', 'views', 'process_peak_mb'} <= set(report)
    assert report['n'] == 2 and report['batch_size'] == 4 and report['amp'] is True
    assert set(report['step_ms']) == EXITS | {'expected'}
    for key in ('baseline_step_ms', 'ratio', 'baseline_like_step_ms', 'ratio_like'):
        spread = report[key]
        assert 0 < spread['min'] <= spread['median'] <= spread['max']
    ours = dict(precision='bf16', layout='channels_last', compile_stages=False)
    shipped = dict(precision='fp32', layout='contiguous', compile_stages=False)
    assert report['numerics'] == {
        'baseline': shipped,
        'baseline_like': ours,
        **dict.fromkeys(EXITS, ours),
    }
    assert set(report['peak_memory_mb']) == EXITS | {'baseline', 'baseline_like'}
    assert min(report['peak_memory_mb'].values()) > 0
    assert 'profile' not in report

    lines = capsys.readouterr().out.splitlines()
    (row,) = [line for line in lines if line.startswith('exit 4')]
    assert row.split()[2:5] == ['bf16', 'channels_last', 'no']
    assert float(row.split()[-1]) == report['peak_memory_mb']['4']
    assert [line for line in lines if line.startswith('ratio, alike')]


def test_profile_names_five_parts_of_ours_and_of_the_baseline(paths, tmp_path, capsys):
    out = tmp_path / 'step.json'
    assert run(paths, '--iters', '1', '--profile', '--json', str(out)) == 0
    report = json.loads(out.read_text())
    profile = report['profile']
    assert set(profile['parts_ms']) == EXITS | {'baseline'}
    for name in ('expected', 'baseline'):
        rows = profile[name]
        assert len(rows) == 5
        assert [row['ms'] for row in rows] == sorted(
            (row['ms'] for row in rows), reverse=True
        )
        assert 0.2 < sum(row['share'] for row in rows) < 1
    part = profile['expected'][0]
    mean = sum(profile['parts_ms'][e].get(part['part'], 0) / 4 for e in EXITS)
    assert part['ms'] == pytest.approx(mean, abs=0.01)
    printed = capsys.readouterr().out
    assert 'baseline: the most expensive parts of' in printed
    assert 'operators of one step of the baseline' in printed
    assert report['baseline_like_step_ms'] is None


@pytest.mark.parametrize(
    ('options', 'code', 'message'),
    [
        (['--compile'], 1, 'has no option compile_stages; leave out --compile'),
        (['--precision', 'fp16'], 1, 'use --precision bf16'),
        (['--count', '--profile'], 2, 'not allowed with'),
        (['--amp', '--precision', 'bf16'], 2, '--precision'),
        (['--iters', '0'], 2, '--iters: must be at least 1'),
    ],
)
def test_refusals(tmp_path, capsys, options, code, message):
    path = write_config(tmp_path / 'upstream.py', config(accel=False))
    assert run(path, *options) == code
    assert message in capsys.readouterr().err


def test_compiled_stages_are_not_looked_into(paths, monkeypatch, capsys):
    compiled = Numerics('fp32', 'contiguous', True)
    monkeypatch.setattr(Numerics, 'resolve', lambda self, cfg, device: compiled)
    monkeypatch.setattr(Numerics, 'model_config', lambda self, cfg: cfg.model)
    assert run(paths, '--profile') == 1
    assert '--cfg-options model.compile_stages=False' in capsys.readouterr().err


def test_a_baseline_is_needed_to_be_like_one(tmp_path, capsys):
    path = write_config(tmp_path / 'alone.py')
    assert run(path, '--baseline-like') == 1
    assert 'give --baseline CONFIG' in capsys.readouterr().err
