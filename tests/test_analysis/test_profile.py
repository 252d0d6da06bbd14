"""The parts of a step: slowed down one by one, and added up."""

import time
from functools import partial

import pytest
import torch

from mmaccel.analysis import StepRunner
from mmaccel.analysis.profile import dearest, expected, operators, profile_step, typical
from mmaccel.models.layers.crop_windows import _CropWindows
from mmaccel.models.plan import StepPlan
from tests.builders import CROP, simclr_config, swav_config
from tests.test_analysis.test_cost import config

SLEEP = 0.15
STAGES = ('stage 2', 'stage 3', 'stage 4')


class SlowBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad):
        time.sleep(SLEEP)
        return grad


def slowed(function):
    def slow(*args, **kwargs):
        time.sleep(SLEEP)
        return function(*args, **kwargs)

    return slow


def slowed_backward(function):
    return lambda x: function(SlowBackward.apply(x))


@pytest.fixture(scope='module')
def runner():
    return StepRunner(config(crop_layer=CROP, loss_on='cumulative'), batch_size=4)


def key_backbone(runner):
    return runner.model.encoder_k.module[0]


#: Whose method is slowed down, which, and how, by the part that it belongs to.
PLACES = {
    'data preprocessor': (lambda r: r.model.data_preprocessor, 'forward', slowed),
    'query stem and stage 1, forward': (
        lambda r: r.model.backbone.conv1, 'forward', slowed
    ),
    'query stage 3, forward': (lambda r: r.model.backbone.layer3, 'forward', slowed),
    'query stem and stage 1, backward': (
        lambda r: r.model.backbone.layer1, 'forward', slowed_backward
    ),
    'query stage 3, backward': (
        lambda r: r.model.backbone.layer3, 'forward', slowed_backward
    ),
    'keys stem and stage 1, forward': (
        lambda r: key_backbone(r).layer1, 'forward', slowed
    ),
    'keys stage 4, forward': (lambda r: key_backbone(r).layer4, 'forward', slowed),
    'scoring windows': (lambda r: r.model, 'score_windows', slowed),
    'cutting windows, forward': (lambda r: _CropWindows, 'apply', slowed),
    'cutting windows, backward': (lambda r: _CropWindows, 'backward', slowed),
    'heads and loss': (lambda r: r.model.head, 'forward', slowed),
    'heads and loss, backward': (
        lambda r: r.model.neck.projectors[0].mlp, 'forward', slowed_backward
    ),
    'moving average': (lambda r: r.model.encoder_k, 'update_parameters', slowed),
    'optimizer': (lambda r: r.optim_wrapper.optimizer, 'step', slowed),
    'other': (lambda r: r.model, 'parse_losses', slowed),
}  # fmt: skip


@pytest.mark.parametrize('part', PLACES)
def test_a_slowed_part_comes_first_and_the_parts_are_the_step(
    runner, part, monkeypatch
):
    owner_of, name, slow = PLACES[part]
    owner = owner_of(runner)
    function = slow(getattr(owner, name))
    if isinstance(owner, type):
        function = staticmethod(function)
    monkeypatch.setattr(owner, name, function)
    passed = []

    def timed_step(plan):
        start = time.perf_counter()
        StepRunner.step(runner, plan)
        passed.append(1000 * (time.perf_counter() - start))

    monkeypatch.setattr(runner, 'step', timed_step)
    (timed,) = profile_step(runner, StepPlan(3), steps=1, warmup=0)
    first = dearest(timed)[0]
    assert first['part'] == part
    assert first['ms'] >= 1000 * SLEEP
    assert first['share'] == pytest.approx(first['ms'] / sum(timed.values()), abs=1e-4)
    assert sum(timed.values()) == pytest.approx(passed[0], rel=0.1)


def test_watching_changes_nothing_and_leaves_nothing():
    plain, watched = (StepRunner(config(crop_layer=CROP), 4) for _ in range(2))
    for stage in (4, 2):
        torch.manual_seed(0)
        plain.step(StepPlan(stage))
        torch.manual_seed(0)
        profile_step(watched, StepPlan(stage), steps=1, warmup=0)
    for a, b in zip(
        plain.model.state_dict().values(), watched.model.state_dict().values()
    ):
        assert torch.equal(a, b)
    hooks = [
        hook
        for module in watched.model.modules()
        for hook in (*module._forward_hooks, *module._forward_pre_hooks)
    ]
    assert not hooks
    assert 'forward' not in vars(watched.model)
    assert 'step' not in vars(watched.optim_wrapper)


def test_upstream_has_the_same_parts_without_windows():
    runner = StepRunner(config(accel=False), 4)
    (timed,) = profile_step(runner, steps=1, warmup=0)
    stages = ['stem and stage 1', 'stage 2', 'stage 3', 'stage 4']
    networks = {
        *(f'query {stage}, forward' for stage in stages),
        *(f'query {stage}, backward' for stage in stages),
        *(f'keys {stage}, forward' for stage in stages),
    }
    rest = {'data preprocessor', 'heads and loss', 'heads and loss, backward'}
    assert set(timed) == networks | rest | {'moving average', 'optimizer', 'other'}


def test_what_lies_behind_the_exit_is_no_part(runner):
    (timed,) = profile_step(runner, StepPlan(1), steps=1, warmup=0)
    assert 'query stem and stage 1, backward' in timed
    assert not [name for name in timed if name.startswith('query stage')]


def test_expectation_and_medians_by_hand():
    assert typical([{'a': 1, 'b': 5}, {'a': 3}, {'a': 9}]) == {'a': 3, 'b': 0}
    parts = {'1': {'a': 4.0}, '2': {'a': 8.0, 'b': 2.0}}
    mean = expected(parts, {'1': 0.25, '2': 0.75})
    assert mean == {'a': 7.0, 'b': 1.5}
    assert dearest(mean, 1) == [dict(part='a', ms=7.0, share=round(7 / 8.5, 4))]


def test_operators_are_those_of_the_step(runner):
    table = operators(runner, [StepPlan(1), StepPlan(2)], rows=5)
    assert 'aten::convolution_backward' in table or 'mkldnn_convolution' in table


@pytest.mark.parametrize('model', [simclr_config, partial(swav_config, [2])])
def test_methods_with_one_network_have_windows_too(model):
    cfg = config()
    cfg.model = model(crop_layer=CROP)
    (timed,) = profile_step(StepRunner(cfg, 4), StepPlan(3), steps=1, warmup=0)
    for part in ('cutting windows, forward', 'cutting windows, backward'):
        assert timed.pop(part) > 0
    assert timed['scoring windows'] > 0
    stages = [name for name in timed if 'stage' in name]
    assert stages == [
        'stem and stage 1, forward',
        'stage 2, forward',
        'stage 3, forward',
        'stage 3, backward',
        'stage 2, backward',
        'stem and stage 1, backward',
    ]


@pytest.mark.parametrize(
    ('plan', 'backward'),
    [
        (StepPlan(4, first_stage=3), {'stage 3', 'stage 4'}),
        (StepPlan(4, blocks=(0, 7)), {'stem and stage 1', *STAGES}),
    ],
)
def test_other_update_schemes_are_seen_through_their_views(plan, backward):
    (timed,) = profile_step(StepRunner(config(), 4), plan, steps=1, warmup=0)
    forward = {'stem and stage 1', *STAGES}
    assert {name for name in timed if name.startswith('query')} == {
        *(f'query {stage}, forward' for stage in forward),
        *(f'query {stage}, backward' for stage in backward),
    }
