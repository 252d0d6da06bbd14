"""The training line and the scalars behind it."""

import math
import re
from types import SimpleNamespace

import pytest
from mmengine.logging import MessageHub

from mmaccel.engine import AccelLogProcessor
from tests.small_run import records, run_config, train, write_dataset


class Clock:
    """Just what the log processor asks of a runner."""

    def __init__(self, name):
        self.message_hub = MessageHub(name)
        self.iter, self.epoch, self.max_epochs, self.max_iters = 0, 0, 3, 30
        loader = SimpleNamespace(batch_size=32, batch_sampler=None)
        self.train_dataloader = loader
        self.train_loop = self._train_loop = SimpleNamespace(
            dataloader=range(10)  # ten iterations an epoch
        )
        self.model = None

    def step(self, **scalars):
        self.iter += 1
        for name, value in scalars.items():
            self.message_hub.update_scalar(f'train/{name}', value)

    def log(self, processor):
        return processor.get_log_after_iter(self, self.iter - 1, 'train')


@pytest.fixture
def clock(request, monkeypatch):
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    return Clock(request.node.name)


def test_line_and_scalars_of_an_accelerated_run(clock):
    processor = AccelLogProcessor(window_size=4)
    clock.message_hub.update_info('eta', 3661.4)
    clock.message_hub.update_info('train_seconds', 12.5)
    every = dict(
        lr=0.03, time=0.2, data_time=0.05, chance_exit2=8.317, chance_exit4=8.317
    )
    clock.step(**every, exit=1, loss=5.0, loss_exit1=5.0)
    clock.step(**every, exit=2, loss=6.0, loss_exit2=6.0, pos_sim_exit2=0.5)
    clock.step(**every, exit=1, loss=5.5, loss_exit1=5.5)
    measured = dict(pos_sim_exit4=0.713, neg_sim_exit4=-0.0213, feat_std_exit4=0.931)
    measured['age_gap_exit4'] = 0.052
    clock.step(
        **every, exit=4, loss=7.1, loss_exit4=7.1, eff_rank_exit4=41.24, **measured
    )
    tag, line = clock.log(processor)
    memory = re.search(r'mem (\d+) MB', line)[1]
    assert line == (
        'Epoch(train) [1][ 4/10]  lr 3.00e-02  eta 1:01:01  160 img/s  data wait 25%  '
        f'mem {memory} MB  exit 4  loss 5.90 (exits 5.25 6.00 - 7.10, chance 8.32)  '
        'at exit 4: sim +0.71/-0.02 age +0.05 std 0.931 rank 41.2'
    )
    assert tag['images_per_second'] == pytest.approx(32 / 0.2)
    assert tag['data_wait'] == pytest.approx(0.25)
    assert tag['train_seconds'] == 12.5
    assert tag['memory'] == int(memory) > 50
    assert tag['loss_exit1'] == pytest.approx(5.25)
    assert tag['chance_exit4'] == 8.317 and tag['exit'] == 4 and tag['iter'] == 5
    assert tag['eff_rank_exit4'] == 41.24 and tag['pos_sim_exit2'] == 0.5
    assert 'loss_exit3' not in tag


def test_exits_with_other_negatives_have_other_chance_levels(clock):
    clock.step(loss=5.0, loss_exit1=5.0, chance_exit1=4.852, chance_exit4=8.317)
    _, line = clock.log(AccelLogProcessor(window_size=4))
    assert 'chance 4.85 - - 8.32' in line


def test_windows_count_the_occurrences_of_an_exit(clock):
    """Exit 3 is drawn rarely; its mean covers its own last values, however old."""
    processor = AccelLogProcessor(window_size=2)
    for loss in (9.0, 8.0, 7.0):
        clock.step(exit=3, loss=loss, loss_exit3=loss)
    for _ in range(5):
        clock.step(exit=1, loss=1.0, loss_exit1=1.0)
    tag, line = clock.log(processor)
    assert tag['loss_exit3'] == 7.5
    assert '(exits 1.00 - 7.50 -)' in line


def test_an_exit_without_a_new_value_gets_no_new_point(clock):
    processor = AccelLogProcessor()
    clock.step(loss=2.0, loss_exit2=2.0, feat_std_exit2=0.5)
    assert {'loss_exit2', 'feat_std_exit2'} <= clock.log(processor)[0].keys()
    clock.step(loss=3.0, loss_exit3=3.0, feat_std_exit3=0.7)
    tag, line = clock.log(processor)
    assert 'loss_exit3' in tag and 'loss_exit2' not in tag
    assert 'exits - 2.00 3.00 -' in line  # the line still shows the last known
    assert 'at exit 3: std 0.7' in line
    clock.step(loss=2.0, loss_exit2=2.0, feat_std_exit2=0.6)
    assert 'at exit 2: std 0.6' in clock.log(processor)[1]
    clock.step(loss=2.0, loss_exit2=2.0)  # not measured: the deepest known
    assert 'at exit 3: std 0.7' in clock.log(processor)[1]


def test_upstream_model_and_other_scalars(clock):
    clock.step(loss=6.123, lr=0.1, grad_norm=1.23456)
    tag, line = clock.log(AccelLogProcessor())
    assert re.fullmatch(
        r'Epoch\(train\) \[1\]\[ 1/10\]  lr 1.00e-01  mem \d+ MB  loss 6.12  '
        r'grad_norm 1.235',
        line,
    )
    assert tag.keys() == {'lr', 'loss', 'grad_norm', 'memory', 'epoch', 'iter'}


def test_hierarchical_names(clock):
    clock.step(loss=6.0, loss_exit1=6.0, time=0.2, data_time=0.1)
    processor = AccelLogProcessor(log_with_hierarchy=True)
    tag, line = clock.log(processor)
    assert tag['train/loss_exit1'] == 6.0 and tag['train/data_wait'] == 0.5
    assert 'exits 6.00 - - -' in line and 'data wait 50%' in line
    clock.step(loss=6.0, time=0.2, data_time=0.1)
    assert 'train/loss_exit1' not in clock.log(processor)[0]


def test_batch_sampler_that_does_not_tell_its_size(clock):
    clock.train_dataloader = SimpleNamespace(batch_size=None, batch_sampler=object())
    clock.step(loss=1.0, time=0.2, data_time=0.1)
    tag, line = clock.log(AccelLogProcessor())
    assert 'images_per_second' not in tag and 'img/s' not in line


def test_history_stays_short_but_windows_are_respected(clock):
    processor = AccelLogProcessor(window_size=3, max_history=5)
    for i in range(20):
        clock.step(loss=float(i), loss_exit1=float(i))
        tag, _ = clock.log(processor)
        assert 'loss_exit1' in tag  # a full history still counts as updated
    assert len(clock.message_hub.get_scalar('train/loss').data[0]) == 5
    assert tag['loss'] == pytest.approx((17 + 18 + 19) / 3)

    custom = [dict(data_src='loss', method_name='mean', window_size='global')]
    untouched = AccelLogProcessor(custom_cfg=custom)
    clock.message_hub.get_scalar('train/loss').max_length = 1000
    clock.step(loss=20.0)
    clock.log(untouched)
    assert clock.message_hub.get_scalar('train/loss').max_length == 1000


@pytest.mark.parametrize('accel', [False, True])
def test_a_real_run(tmp_path, accel):
    data = write_dataset(tmp_path / 'data')
    backends = [dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')]
    visualizer = dict(type='SelfSupVisualizer', vis_backends=backends)
    train(run_config(data, tmp_path / 'run', accel=accel, visualizer=visualizer))

    log = records(tmp_path / 'run')
    assert [r['step'] for r in log] == [2, 4, 6, 8]
    keys = set().union(*log)
    exits = {int(k[-1]) for k in keys if k.startswith('loss_exit')}
    assert bool(exits) == accel
    if accel:
        chances = [v for r in log for k, v in r.items() if k.startswith('chance')]
        assert chances and set(chances) == {chances[0]}
        assert chances[0] == pytest.approx(math.log(33))  # a queue of 32
        assert any(k.startswith('eff_rank_exit') for k in keys)
    for record in log:
        assert 0 <= record['data_wait'] <= 1 and record['images_per_second'] > 0
        assert record['train_seconds'] > 0 and record['memory'] > 0

    tensorboard = pytest.importorskip(
        'tensorboard.backend.event_processing.event_accumulator'
    )
    (events,) = (tmp_path / 'run').glob('*/vis_data/events.out.tfevents.*')
    curves = tensorboard.EventAccumulator(str(events))
    curves.Reload()
    assert keys - {'step'} <= set(curves.Tags()['scalars'])
    assert [e.step for e in curves.Scalars('loss')] == [2, 4, 6, 8]
