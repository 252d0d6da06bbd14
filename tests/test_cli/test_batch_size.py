"""``mmaccel batch-size``."""

import json
import math
import random

import pytest
import torch

from mmaccel.analysis import Numerics, batch_size
from mmaccel.analysis.batch_size import (
    batch_candidates,
    largest_fitting,
    peaks_in_child,
)
from mmaccel.errors import ConfigError
from tests.config_file import write_config
from tests.processes import exit_code
from tests.test_analysis.test_cost import config


@pytest.mark.parametrize('seed', range(30))
def test_the_largest_candidate_that_fits_is_found(seed):
    draw = random.Random(seed)
    candidates = sorted(draw.sample(range(8, 2000, 8), draw.randint(1, 60)))
    limit = draw.choice([0, draw.randint(1, 2100), candidates[0], candidates[-1]])
    tried = []

    def fits(batch):
        tried.append(batch)
        return batch <= limit

    fitting = [n for n in candidates if n <= limit]
    assert largest_fitting(fits, candidates) == (fitting[-1] if fitting else None)
    assert len(tried) == len(set(tried))
    assert len(tried) <= 2 + 2 * math.ceil(math.log2(2000 / 8))
    if fitting:  # nothing is tried at several times the memory there is
        below = max((n for n in candidates if n <= limit), default=0)
        above = min((n for n in candidates if n >= 2 * below), default=candidates[-1])
        assert max(tried) <= above


def test_batches_divide_the_queue_of_all_gpus():
    assert batch_candidates(None, 4, 32) == [8, 16, 24, 32]
    assert batch_candidates(240, 2, 100) == [8, 24, 40]
    with pytest.raises(ConfigError, match=r'model\.queue_len=96'):
        batch_candidates(100, 4, 64)


def fake_memory(monkeypatch, per_image, fixed):
    """Memory as a linear function of the batch, the last exit needing most."""

    def peaks(cfg, batch_size, size, device, numerics):
        if batch_size > 1000:
            return None  # as if the system had killed it
        worst = fixed + per_image * batch_size
        return {'1': 0.5 * worst, '4': worst}

    monkeypatch.setattr(batch_size, 'peaks_in_child', peaks)


def run(path, out, *options):
    return exit_code('batch-size', path, '--device', 'cpu', '--json', out, *options)


def test_batch_and_learning_rate(tmp_path, monkeypatch, capsys):
    fake_memory(monkeypatch, per_image=10, fixed=100)
    path = write_config(
        tmp_path / 'c.py',
        config(queue_len=960),
        auto_scale_lr=dict(base_batch_size=256),
    )
    out = tmp_path / 'f.json'
    assert run(path, out, '--limit-mb', '1000', '--gpus', '2') == 0
    report = json.loads(out.read_text())
    # 90 images would fit; 960 keys are filled evenly by 2 x 8, 16, 24, 32, 40, 48, 80
    assert report['batch_size'] == 80
    assert report['learning_rate'] == pytest.approx(0.1 * 80 * 2 / 256)
    assert report['peak_memory_mb'] == {'1': 450, '4': 900}
    assert {'device', 'torch', 'config', 'n'} <= set(report)
    assert 'optim_wrapper.optimizer.lr=0.0625' in capsys.readouterr().out


def test_without_a_queue_every_multiple_of_eight_counts(tmp_path, monkeypatch):
    fake_memory(monkeypatch, per_image=1, fixed=0)
    cfg = config()
    cfg.model.type = 'SimCLR'
    del cfg.model['queue_len']
    path, out = write_config(tmp_path / 'c.py', cfg), tmp_path / 'f.json'
    assert run(path, out, '--limit-mb', '5000') == 0
    report = json.loads(out.read_text())
    assert report['batch_size'] == 1000
    assert report['learning_rate'] is None  # no auto_scale_lr


@pytest.mark.parametrize(
    ('options', 'code', 'message'),
    [
        (['--limit-mb', '100'], 1, 'not even a batch of 8 fits'),
        (['--limit-mb', '100', '--gpus', '3'], 1, 'model.queue_len=24'),
        (['--limit-mb', '100', '--precision', 'fp16'], 1, 'use --precision bf16'),
        ([], 2, '--limit-mb N'),
    ],
)
def test_refusals(tmp_path, monkeypatch, capsys, options, code, message):
    fake_memory(monkeypatch, per_image=10, fixed=100)
    path, out = write_config(tmp_path / 'c.py'), tmp_path / 'f.json'
    assert run(path, out, *options) == code
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_for_real_on_a_small_model(tmp_path):
    cfg = config(queue_len=64)
    least, most = (
        max(peaks_in_child(cfg, n, 160, 'cpu', Numerics()).values()) for n in (8, 64)
    )
    assert most > least + 50
    path, out = write_config(tmp_path / 'c.py', cfg), tmp_path / 'f.json'
    limit = str((least + most) / 2)
    assert run(path, out, '--limit-mb', limit, '--size', '160') == 0
    report = json.loads(out.read_text())
    assert report['batch_size'] in (16, 32)
    assert set(report['peak_memory_mb']) == {'1', '2', '3', '4'}
    assert least < max(report['peak_memory_mb'].values()) <= float(limit)


@pytest.mark.parametrize(
    ('error', 'ran_out'),
    [
        (torch.cuda.OutOfMemoryError('CUDA out of memory. Tried to allocate'), True),
        (RuntimeError('CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling'), True),
        (RuntimeError('expected scalar type Float'), False),
    ],
)
def test_a_cuda_device_that_ran_out_is_left_for_the_next_try(
    monkeypatch, error, ran_out
):
    emptied = []

    def build(*args):
        raise error

    monkeypatch.setattr(batch_size, 'StepRunner', build)
    monkeypatch.setattr(torch.cuda, 'empty_cache', lambda: emptied.append(True))
    if ran_out:
        assert batch_size.peaks_on_cuda(config(), 8, 32, 'cuda', Numerics()) is None
        assert emptied
    else:
        with pytest.raises(RuntimeError, match='scalar type'):
            batch_size.peaks_on_cuda(config(), 8, 32, 'cuda', Numerics())


def test_running_out_of_memory_is_no_error_and_other_failures_are():
    cfg = config()
    assert peaks_in_child(cfg, 10**13, 64, 'cpu', Numerics()) is None
    with pytest.raises(ValueError, match='queue_len=32 is not a multiple'):
        peaks_in_child(cfg, 24, 64, 'cpu', Numerics())
