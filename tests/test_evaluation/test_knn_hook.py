"""The online kNN monitor: its accuracy, its clock, and that it disturbs nothing."""

import random
import time

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import init_default_scope
from mmselfsup.registry import HOOKS

from mmaccel.errors import ConfigError
from mmaccel.evaluation import extract_features, knn_top1
from mmaccel.evaluation.hooks.knn_hook import _build_loader, _gather
from mmaccel.models.utils.norms import evaluation_mode
from tests.builders import build, moco_config
from tests.processes import fork_ranks
from tests.small_run import labelled, records, run_config, train, write_dataset


@pytest.fixture
def data(tmp_path):
    init_default_scope('mmselfsup')
    return write_dataset(tmp_path / 'data')


def knn(data, **overrides):
    return dict(
        train_dataloader=labelled(data, False),
        test_dataloader=labelled(data, True),
        **overrides,
    )


def curve(work_dir, key='knn_top1'):
    return [(r['step'], r['epoch'], r[key]) for r in records(work_dir) if key in r]


@HOOKS.register_module()
class SlowCheckpointEpoch(Hook):
    """Spends time between epochs, which the training clock must not count."""

    def after_train_epoch(self, runner):
        time.sleep(0.5)


def test_logs_accuracy_against_training_time(data, tmp_path):
    hooks = [dict(type='SlowCheckpointEpoch')]
    cfg = run_config(
        data, tmp_path / 'run', knn=knn(data, interval=2), custom_hooks=hooks, epochs=3
    )
    start = time.perf_counter()
    runner = train(cfg)
    elapsed = time.perf_counter() - start

    log = [r for r in records(tmp_path / 'run') if 'knn_top1' in r]
    # before training, every second epoch, and after the last; steps are iterations
    assert [(r['step'], r['epoch']) for r in log] == [(0, 0), (8, 2), (12, 3)]
    seconds = [r['train_seconds'] for r in log]
    assert seconds[0] == 0 < seconds[1] < seconds[2]
    iterations, _ = runner.message_hub.get_scalar('train/time').data
    assert seconds[2] == pytest.approx(iterations.sum(), rel=0.2)
    assert seconds[2] < elapsed - 3 * 0.5

    # the last value is that of the final weights, computed apart from the hook
    features = []
    for test_mode in (False, True):
        loader = runner.build_dataloader(
            dict(
                labelled(data, test_mode, batch_size=7, num_workers=0),
                sampler=dict(type='DefaultSampler', shuffle=False),
                collate_fn=dict(type='default_collate'),
            )
        )
        features.append(extract_features(runner.model, loader))
    assert log[-1]['knn_top1'] == pytest.approx(knn_top1(*features[0], *features[1]))


def test_training_is_bit_identical_with_and_without(data, tmp_path):
    """Even beside a monitor whose own pipeline draws random numbers."""
    monitor = knn(data)
    crop = dict(type='RandomResizedCrop', size=28, scale=(0.5, 1.0), backend='pillow')
    monitor['train_dataloader']['dataset']['pipeline'].insert(0, crop)
    with_monitor = train(run_config(data, tmp_path / 'with', knn=monitor))
    after_with = torch.rand(3), np.random.rand(3).tolist(), random.random()
    without = train(run_config(data, tmp_path / 'without'))
    after_without = torch.rand(3), np.random.rand(3).tolist(), random.random()

    state, reference = with_monitor.model.state_dict(), without.model.state_dict()
    assert state.keys() == reference.keys()
    for name, value in reference.items():
        assert state[name].equal(value), name
    assert after_with[0].equal(after_without[0])
    assert after_with[1:] == after_without[1:]


def test_resume_continues_clock_and_curve(data, tmp_path):
    work_dir = tmp_path / 'run'
    cfg = run_config(data, work_dir, knn=knn(data), epochs=1, checkpoint=True)
    train(cfg)
    first = [r for r in records(work_dir) if 'knn_top1' in r]
    time.sleep(1.1)  # a run's folder is named by the second
    train(run_config(data, work_dir, knn=knn(data), epochs=2, resume=True))
    log = [r for r in records(work_dir) if 'knn_top1' in r]
    assert [(r['step'], r['epoch']) for r in log] == [(0, 0), (4, 1), (8, 2)]
    assert log[:2] == first
    assert log[2]['train_seconds'] > log[1]['train_seconds']


def test_modes_come_back_and_buffers_stay():
    model = build(moco_config(accel=False))
    model.backbone.layer1.eval()  # as a user may keep it
    modes = {name: m.training for name, m in model.named_modules()}
    with pytest.raises(ZeroDivisionError), evaluation_mode(model.modules()):
        assert not any(m.training for m in model.modules())
        raise ZeroDivisionError
    assert {name: m.training for name, m in model.named_modules()} == modes


def test_subset_is_spread_over_the_whole_set(data):
    loader = _build_loader('train', labelled(data, False), limit=8)
    assert list(loader.dataset.indices) == [0, 8, 16, 24, 32, 40, 48, 56]
    loader = _build_loader('train', labelled(data, False), limit=1000)
    assert len(loader.dataset) == 64


def test_interval_zero_is_off(tmp_path):
    cfg = run_config(
        write_dataset(tmp_path / 'data'),
        tmp_path / 'run',
        knn=knn(tmp_path / 'missing', interval=0),
        epochs=1,
    )
    train(cfg)
    assert curve(tmp_path / 'run') == []


def test_missing_set_stops_before_training(data, tmp_path):
    cfg = run_config(data, tmp_path / 'run', knn=knn(tmp_path / 'missing'))
    with pytest.raises(ConfigError, match=r'labelled train set.*interval=0') as error:
        train(cfg)
    assert str(tmp_path / 'missing') in str(error.value)
    assert records(tmp_path / 'run') == []


def test_set_without_labels_stops_before_training(data, tmp_path):
    monitor = knn(data)
    monitor['test_dataloader']['dataset']['pipeline'] = [dict(type='PackSelfSupInputs')]
    with pytest.raises(ConfigError, match=r"algorithm_keys=\['gt_label'\]"):
        train(run_config(data, tmp_path / 'run', knn=monitor))


def test_bad_arguments():
    with pytest.raises(ValueError, match='k must be at least 1'):
        HOOKS.build(dict(type='KNNHook', train_dataloader={}, test_dataloader={}, k=0))


def _top1_of_rank(rank, data):
    """What one of two processes finds: both measure, each its share."""
    # 63 and 31 images: neither is a multiple of two
    loaders = [
        _build_loader('', labelled(data, test, batch_size=5), limit)
        for test, limit in ((False, 63), (True, 31))
    ]
    assert [len(loader.sampler) for loader in loaders] == [32, 16]
    index = torch.tensor(list(loaders[0].sampler))
    assert _gather(index, 63).tolist() == list(range(63))

    hook = HOOKS.build(dict(type='KNNHook', train_dataloader={}, test_dataloader={}))
    hook._bank, hook._test = loaders
    model = _seeded_model()
    for buffer in model.backbone.buffers():  # plain batch norms differ between ranks
        buffer += 3 * rank
    before = [buffer.clone() for buffer in model.backbone.buffers()]
    top1 = hook._top1(model)
    assert all(map(torch.equal, before, model.backbone.buffers()))
    return top1


def _seeded_model():
    torch.manual_seed(0)
    model = build(moco_config(accel=False))
    model.backbone.conv1 = torch.nn.Conv2d(1, 8, 7, 2, 3, bias=False)
    return model


def test_two_ranks_find_the_accuracy_of_one(data):
    found = fork_ranks(lambda rank: _top1_of_rank(rank, data))
    hook = HOOKS.build(dict(type='KNNHook', train_dataloader={}, test_dataloader={}))
    hook._bank = _build_loader('', labelled(data, False), 63)
    hook._test = _build_loader('', labelled(data, True), 31)
    expected = hook._top1(_seeded_model())
    assert 0 < expected < 100
    assert found == pytest.approx([expected] * 2)
