"""The exit's draw, its hand-over and what the hook refuses."""

import itertools
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from mmengine.config import Config
from mmengine.logging import MessageHub
from torch import nn

from mmaccel.engine.hooks.partial_backprop_hook import PartialBackpropHook
from tests.builders import build, moco_config, swav_config

ROOT = Path(__file__).resolve().parents[2]


def runner_with(model, accumulative_counts=1, seed=3):
    return SimpleNamespace(
        model=model,
        seed=seed,
        iter=0,
        max_iters=1000,
        optim_wrapper=SimpleNamespace(_accumulative_counts=accumulative_counts),
        message_hub=MessageHub.get_instance('hook_test'),
    )


def plans(hook, runner, iterations):
    hook.before_train(runner)
    seen = []
    for runner.iter in iterations:
        hook.before_train_iter(runner, 0)
        seen.append(runner.model.plan)
    return seen


@pytest.fixture(scope='module')
def model():
    return build(moco_config())


def test_exits_follow_their_probabilities(model):
    hook = PartialBackpropHook(exit_probs=(0, 1, 1, 6))
    drawn = [hook.draw(model, 3, update).exit_stage for update in range(2000)]
    for exit_stage, share in enumerate((0, 0.125, 0.125, 0.75), 1):
        # three standard deviations of a binomial share
        tolerance = 3 * (share * (1 - share) / 2000) ** 0.5
        assert abs(drawn.count(exit_stage) / 2000 - share) <= tolerance


def test_certain_exit_is_always_drawn(model):
    hook = PartialBackpropHook(exit_probs=(0, 0, 0, 1))
    assert {hook.draw(model, 3, u).exit_stage for u in range(50)} == {4}


def test_resumed_sequence_continues(model):
    whole = plans(PartialBackpropHook(), runner_with(model), range(20))
    resumed = plans(PartialBackpropHook(), runner_with(model), range(12, 20))
    assert whole[12:] == resumed
    other_seed = plans(PartialBackpropHook(), runner_with(model, seed=4), range(20))
    assert [p.exit_stage for p in whole] != [p.exit_stage for p in other_seed]


def test_accumulated_iterations_share_the_exit_but_not_the_windows(model):
    seen = plans(PartialBackpropHook(), runner_with(model, 4), range(40))
    updates = [seen[i : i + 4] for i in range(0, 40, 4)]
    assert all(len({p.exit_stage for p in update}) == 1 for update in updates)
    assert len({update[0].exit_stage for update in updates}) > 1
    assert len({p.window_seed for p in seen}) == 40


def test_exit_is_logged(model):
    runner = runner_with(model)
    (plan,) = plans(PartialBackpropHook(), runner, [0])
    scalars = runner.message_hub.log_scalars
    assert scalars['train/exit'].current() == plan.exit_stage


def test_measured_iterations_are_spaced(model):
    seen = plans(PartialBackpropHook(measure_interval=5), runner_with(model), range(11))
    assert [i for i, plan in enumerate(seen) if plan.measure] == [0, 4, 9]


def test_plan_is_taken_back_and_requires_grad_untouched(model):
    hook, runner = PartialBackpropHook(), runner_with(model)
    before = [p.requires_grad for p in model.parameters()]
    plans(hook, runner, range(4))
    assert [p.requires_grad for p in model.parameters()] == before
    hook.after_train(runner)
    assert model.plan is None


def test_nearby_blocks_are_runs_that_end_at_the_exit(model):
    hook = PartialBackpropHook(update_scheme='nearby_block')
    runs = Counter(
        (plan.first_stage, plan.exit_stage)
        for plan in (hook.draw(model, 3, update) for update in range(2000))
    )
    expected = {(p.first_stage, p.exit_stage): w for w, p in hook.distribution(model)}
    assert set(runs) == set(expected)
    assert sum(expected.values()) == pytest.approx(1)
    for run, share in expected.items():
        tolerance = 3.5 * (share * (1 - share) / 2000) ** 0.5
        assert abs(runs[run] / 2000 - share) <= tolerance, run


@pytest.mark.parametrize('number', [1, 3, 4])
def test_skipping_trains_blocks_that_are_not_adjacent(model, number):
    hook = PartialBackpropHook(update_scheme='skipping', num_blocks=number)
    drawn = Counter(hook.draw(model, 3, update).blocks for update in range(4000))
    possible = {
        blocks
        for blocks in itertools.combinations(range(8), number)
        if all(b - a > 1 for a, b in itertools.pairwise(blocks))
    }
    assert set(drawn) == possible
    share = 1 / len(possible)
    tolerance = 4 * (share * (1 - share) / 4000) ** 0.5
    assert all(abs(count / 4000 - share) <= tolerance for count in drawn.values())
    assert hook.draw(model, 3, 0).exit_stage == 4


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(update_scheme='skipping', num_blocks=0), 'use 1 to 4'),
        (dict(update_scheme='skipping', num_blocks=5), 'use 1 to 4'),
        (dict(exit_probs=(0.5, 0.5)), r'2 values .* 4 exits.*0\.25, 0\.25, 0\.25'),
        (dict(schedule=[dict(entry_probs=(1, 1, 1, 1, 1))]), 'entry_probs'),
    ],
)
def test_settings_that_do_not_fit_the_model_are_refused(model, settings, message):
    hook = PartialBackpropHook(**settings)
    with pytest.raises(ValueError, match=message):
        hook.before_train(runner_with(model))


def test_upstream_model_is_refused():
    upstream = build(moco_config(accel=False))
    with pytest.raises(ValueError, match="needs an Accel model.*'AccelMoCo'"):
        PartialBackpropHook().before_train(runner_with(upstream))


def test_ddp_that_cannot_skip_parameters_is_refused(model, monkeypatch):
    from mmaccel.engine.hooks import partial_backprop_hook as module

    wrapper = nn.Module()
    wrapper.module, wrapper.find_unused_parameters = model, False
    monkeypatch.setattr(module, 'is_model_wrapper', lambda _: True)
    monkeypatch.setattr(module, 'unwrapped', lambda _: model)
    with pytest.raises(ValueError, match='StagewiseDataParallel'):
        PartialBackpropHook().before_train(runner_with(wrapper))


LATE = dict(until=1.0, exit_probs=(0, 0, 1, 1))


def test_a_schedule_changes_the_plan_between_updates(model):
    hook = PartialBackpropHook(
        schedule=[
            dict(until=0.5, exit_probs=(1, 0, 0, 0), view_scale=0.5),
            dict(LATE, entry_probs=(0, 1), windows=False, loss_on='exit'),
        ]
    )
    runner = runner_with(model, accumulative_counts=4)
    runner.max_iters = 12
    seen = [
        (plan.exit_stage > 1, plan.first_stage, plan.view_scale, plan.loss_on)
        for plan in plans(hook, runner, range(12))
    ]
    # the update that begins before half of the training is over ends as it began
    assert seen == [(False, 1, 0.5, None)] * 8 + [(True, 2, 1.0, 'exit')] * 4


def test_entries_are_drawn_among_the_stages_up_to_the_exit(model):
    stage = dict(exit_probs=(0, 1, 0, 3), entry_probs=(1, 2, 5))
    hook = PartialBackpropHook(schedule=[stage])
    runs = Counter(
        (plan.first_stage, plan.exit_stage)
        for plan in (hook.draw(model, 3, update) for update in range(4000))
    )
    expected = {
        (1, 2): 1 / 4 * 1 / 3,
        (2, 2): 1 / 4 * 2 / 3,
        (1, 4): 3 / 4 * 1 / 8,
        (2, 4): 3 / 4 * 2 / 8,
        (3, 4): 3 / 4 * 5 / 8,
    }
    told = {(p.first_stage, p.exit_stage): w for w, p in hook.distribution(model)}
    assert told == pytest.approx(expected)
    assert set(runs) == set(expected)
    for run, share in expected.items():
        tolerance = 3.5 * (share * (1 - share) / 4000) ** 0.5
        assert abs(runs[run] / 4000 - share) <= tolerance, run


def test_the_freeze_preset_freezes_one_stage_from_half_and_two_from_three_quarters(
    model,
):
    config = Config.fromfile(ROOT / 'configs/small/accel-mocov2_r18_cifar10-freeze.py')
    (settings,) = config.custom_hooks
    hook = PartialBackpropHook(**{k: v for k, v in settings.items() if k != 'type'})
    runner = runner_with(model)
    runner.max_iters = 40
    drawn = [(p.first_stage, p.exit_stage) for p in plans(hook, runner, range(40))]
    assert drawn == [(1, 4)] * 20 + [(2, 4)] * 10 + [(3, 4)] * 10


def test_views_of_two_sizes_are_for_algorithms_of_two_views(model):
    hook = PartialBackpropHook(schedule=[dict(view_scale=[2 / 3, 1])])
    hook.check_model(model)
    assert hook.draw(model, 0, 0).scale_of(0) == 2 / 3
    with pytest.raises(ValueError, match='view_scale'):
        hook.check_model(build(swav_config([2])))


def test_distribution_weighs_stages_by_their_length(model):
    hook = PartialBackpropHook(schedule=[dict(until=0.8), LATE])
    expected = {1: 0.2, 2: 0.2, 3: 0.2 + 0.1, 4: 0.2 + 0.1}
    total = dict.fromkeys(expected, 0.0)
    for probability, plan in hook.distribution(model):
        total[plan.exit_stage] += probability
    assert total == pytest.approx(expected)


def runs_with_windows(model_options, **hook_options):
    layer = dict(type='HardPairCropLayer', **hook_options.pop('layer', {}))
    model = build(moco_config(crop_layer=layer, **model_options))
    runner = runner_with(model)
    told = []
    runner.logger = SimpleNamespace(warning=told.append)
    PartialBackpropHook(**hook_options).before_train(runner)
    return told


LAST = dict(exit_probs=(0, 0, 0, 1))
FREEZING = [dict(LAST, until=0.5), dict(LAST, entry_probs=(0, 1))]


@pytest.mark.parametrize(
    ('model_options', 'hook_options', 'stages'),
    [
        ({}, LAST, '1, 2'),
        ({}, dict(exit_probs=(1, 0, 0, 1)), '2'),
        ({}, dict(update_scheme='skipping'), '1, 2'),
        ({}, {}, None),
        (dict(loss_on='cumulative'), LAST, None),
        ({}, dict(LAST, layer=dict(prefer='random')), None),
        ({}, dict(LAST, layer=dict(num_candidates=1)), None),
        ({}, dict(schedule=[dict(LAST, windows=False)]), None),
        ({}, dict(schedule=[dict(LAST, until=0.5), dict(LAST, windows=False)]), '1, 2'),
        (
            dict(loss_on='cumulative'),
            dict(schedule=[dict(LAST, entry_probs=(0, 1))]),
            '1',
        ),
        # trained in the beginning
        ({}, dict(schedule=[dict(until=0.5), LAST]), None),
    ],
)
def test_windows_chosen_by_untrained_projectors_are_told(
    model_options, hook_options, stages
):
    told = runs_with_windows(model_options, **hook_options)
    assert len(told) == (stages is not None)
    assert all(f'Windows after stage(s) {stages} are' in text for text in told)


def test_windows_are_not_scored_against_a_queue_that_is_not_filled():
    truncated = dict(key_forward='truncated')
    late = dict(schedule=[dict(until=0.5), LAST])
    with pytest.raises(ValueError, match="windows after stage 1.*key_forward='full'"):
        runs_with_windows(truncated, **late)
    assert not runs_with_windows(truncated)
    assert not runs_with_windows(truncated, layer=dict(num_candidates=1), **late)
    assert not runs_with_windows(dict(truncated, loss_on='cumulative'), **late)


@pytest.mark.parametrize(
    ('settings', 'named'),
    [
        (dict(update_scheme='all'), 'bp_to_input, skipping, nearby_block'),
        (dict(exit_probs=(0.5, -0.1, 0.3, 0.3)), 'exit_probs.*probability >= 0'),
        (dict(exit_probs=(0.5, float('nan'), 0.3, 0.3)), 'exit_probs'),
        (dict(exit_probs=(0, 0, 0, 0)), 'exit_probs.*positive probability'),
        (dict(num_blocks=3), 'num_blocks'),
        (dict(num_blocks=3, update_scheme='nearby_block'), 'num_blocks'),
        (dict(schedule=[{}], update_scheme='nearby_block'), 'schedule'),
        (dict(schedule=[{}], update_scheme='skipping'), 'schedule'),
        (dict(schedule=[{}], **LAST), 'exit_probs'),
        (dict(anneal='scaled'), 'anneal'),
        (dict(schedule=[dict(LAST, entry_probs=(0, 1))], anneal='scaled'), 'anneal'),
        (dict(schedule=FREEZING, anneal='linear'), 'anneal'),
    ],
)
def test_settings_that_cannot_be_or_would_be_ignored_are_refused(settings, named):
    with pytest.raises(ValueError, match=named):
        PartialBackpropHook(**settings)


def test_phases_of_version_0_1_still_work_with_a_warning(model):
    with pytest.warns(FutureWarning, match='schedule'):
        old = PartialBackpropHook(
            exit_probs=(0, 0, 0, 1),
            phases=[
                dict(begin=0, view_scale=0.5),
                dict(begin=0.5, entry_probs=(0, 1), supervision='cumulative'),
                dict(begin=0.75, view_scale=1, windows=False),
            ],
        )
    cumulative = dict(LAST, entry_probs=(0, 1), loss_on='cumulative')
    new = PartialBackpropHook(
        schedule=[
            dict(LAST, until=0.5, view_scale=0.5),
            dict(cumulative, until=0.75, view_scale=0.5),
            dict(cumulative, windows=False),
        ]
    )
    assert old.schedule == new.schedule
