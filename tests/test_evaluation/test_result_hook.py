"""The record of a transfer: its figures, its origin, and when it is written."""

import itertools
import json

import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import HOOKS, DefaultScope
from mmengine.runner import Runner
from torch import nn

from mmaccel.errors import ConfigError
from mmaccel.evaluation.hooks import ResultHook

METRICS = {'share/right': 'top1'}
HOOK = dict(
    type='ResultHook', task='linear', dataset='Toys', protocol='by hand', frozen=False
)
_runs = itertools.count()


class Backbone(BaseModel):
    def __init__(self, init_cfg=None):
        super().__init__(init_cfg=init_cfg)
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, inputs, mode='tensor', **_):
        x = self.weight * torch.stack(list(inputs))
        return dict(loss=x.sum()) if mode == 'loss' else [dict(value=v) for v in x]


class Epochs(BaseMetric):
    """A figure that grows with each validation, named as mmcls names its own."""

    default_prefix = 'share'
    calls = 0

    def process(self, data_batch, data_samples):
        self.results += data_samples

    def compute_metrics(self, results):
        self.calls += 1
        return dict(right=0.25 * self.calls, n=len(results))


class Stop(Hook):
    """Breaks off before an epoch is trained, or after so many validated."""

    def __init__(self, train=None, val=None):
        self.train, self.val = train, val

    def before_train_epoch(self, runner):
        if runner.epoch == self.train:
            raise KeyboardInterrupt

    def before_val_epoch(self, runner):
        if runner.epoch == self.val:
            raise KeyboardInterrupt


def loader(number):
    data = [dict(inputs=torch.tensor(float(i))) for i in range(number)]
    return dict(
        dataset=data, batch_size=2, sampler=dict(type='DefaultSampler', shuffle=False)
    )


def runner(work_dir, epochs=3, pretrained=None, hook=None, **overrides):
    """Three epochs, each validated on 5 samples; 7 to test on."""
    init_cfg = pretrained and dict(type='Pretrained', checkpoint=str(pretrained))
    cfg = Config(
        dict(
            model=dict(type='Backbone', init_cfg=init_cfg),
            train_cfg=dict(by_epoch=True, max_epochs=epochs),
            val_cfg=dict(),
            test_cfg=dict(),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.0)),
        )
    )
    arguments = dict(
        train_dataloader=loader(4),
        val_dataloader=loader(5),
        test_dataloader=loader(7),
        val_evaluator=[Epochs()],
        test_evaluator=[Epochs()],
        custom_hooks=[hook or dict(HOOK, metrics=METRICS, scale=100.0)],
        randomness=dict(seed=4),
        experiment_name=f'toy{next(_runs)}',
    )
    arguments.update(overrides)
    return Runner(
        model=Backbone(init_cfg), work_dir=str(work_dir), **arguments, **_parts(cfg)
    )


def _parts(cfg):
    names = ('train_cfg', 'val_cfg', 'test_cfg', 'optim_wrapper')
    return dict(cfg=cfg, **{name: cfg[name] for name in names})


def record(work_dir):
    return json.loads((work_dir / 'result.json').read_text())


def weights(path):
    torch.save(Backbone().state_dict(), path)
    return path


def test_the_last_validation_of_a_whole_training_is_recorded(tmp_path):
    checkpoint = weights(tmp_path / 'pretrained.pth')
    runner(tmp_path / 'run', pretrained=checkpoint).train()
    got = record(tmp_path / 'run')
    assert got['metrics'] == {'top1': 75.0}  # third validation, in percent
    assert (got['task'], got['dataset'], got['n']) == ('linear', 'Toys', 5)
    assert (got['protocol'], got['frozen'], got['seed']) == ('by hand', False, 4)
    assert got['pretrain'] == str(checkpoint)
    assert got['method'] == 'pretrained'


def test_a_training_that_was_broken_off_leaves_no_record(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        hooks = [dict(HOOK, metrics=METRICS), Stop(train=2)]
        runner(tmp_path, custom_hooks=hooks).train()
    assert (tmp_path / 'epoch_2.pth').exists()
    assert not (tmp_path / 'result.json').exists()


def test_a_metric_that_is_not_logged_stops_with_the_names_that_are(tmp_path):
    hook = dict(HOOK, metrics={'accuracy/top1': 'top1'})
    with pytest.raises(ConfigError, match=r'no accuracy/top1 .*share/right'):
        runner(tmp_path, hook=hook).train()


def test_only_the_first_rank_writes(tmp_path):
    second = runner(tmp_path, epochs=1)
    second._rank = 1
    second._hooks = [h for h in second.hooks if isinstance(h, ResultHook)]
    second.train()
    assert not (tmp_path / 'result.json').exists()


@pytest.mark.parametrize('scope', ['mmselfsup', 'mmcls', 'mmdet', 'mmseg'])
@pytest.mark.parametrize('kind', ['ResultHook', 'mmselfsup.ResultHook'])
def test_it_is_found_from_every_scope(scope, kind):
    pytest.importorskip(scope)
    with DefaultScope.overwrite_default_scope(scope):
        hook = HOOKS.build(dict(HOOK, type=kind, metrics=METRICS))
    assert isinstance(hook, ResultHook)


def test_a_run_killed_in_its_last_validation_is_measured_when_it_goes_on(tmp_path):
    hook = dict(HOOK, metrics=METRICS)
    with pytest.raises(KeyboardInterrupt):
        runner(tmp_path, custom_hooks=[hook, Stop(val=3)]).train()
    assert not (tmp_path / 'result.json').exists()
    runner(tmp_path, resume=True, load_from=str(tmp_path / 'epoch_3.pth')).train()
    assert set(record(tmp_path)['metrics']) == {'top1'}


def test_resumed_and_tested_runs_know_where_they_come_from(tmp_path):
    checkpoint = weights(tmp_path / 'pretrained.pth')
    protocol = '{train_cfg.max_epochs} epochs of {total_batch} images'
    hook = dict(HOOK, metrics=METRICS, protocol=protocol, scale=100.0)
    run = tmp_path / 'run'
    for epochs, pretrained in ((1, checkpoint), (2, None), (3, None)):
        more = {}
        if pretrained is None:  # as a resume without --pretrained is
            more = dict(resume=True, load_from=str(run / f'epoch_{epochs - 1}.pth'))
        more['randomness'] = dict(seed=4 + epochs)
        runner(run, epochs=epochs, pretrained=pretrained, hook=hook, **more).train()
    trained = record(run)
    assert trained['pretrain'] == str(checkpoint) and trained['seed'] == 5
    assert trained['protocol'] == '3 epochs of 2 images'
    test = tmp_path / 'test'
    runner(test, hook=hook, load_from=str(run / 'epoch_3.pth')).test()
    for key in ('pretrain', 'protocol', 'seed', 'method'):
        assert record(test)[key] == trained[key]
    assert (record(test)['n'], record(test)['metrics']) == (7, {'top1': 25.0})


def test_a_protocol_of_settings_that_are_not_there_is_refused_at_once(tmp_path):
    hook = dict(HOOK, metrics=METRICS, protocol='{train_cfg.max_iters} iterations')
    with pytest.raises(ConfigError, match=r'max_iters.*custom_hooks'):
        runner(tmp_path, hook=hook).train()
