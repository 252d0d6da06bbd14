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
from tests.builders import build, moco_config

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
        if all(b - a > 1 for a, b in zip(blocks, blocks[1:]))
    }
    assert set(drawn) == possible
    share = 1 / len(possible)
    tolerance = 4 * (share * (1 - share) / 4000) ** 0.5
    assert all(abs(count / 4000 - share) <= tolerance for count in drawn.values())
    assert hook.draw(model, 3, 0).exit_stage == 4


@pytest.mark.parametrize('number', [0, 5])
def test_too_many_blocks_are_refused(model, number):
    hook = PartialBackpropHook(update_scheme='skipping', num_blocks=number)
    with pytest.raises(ValueError, match='cannot be chosen from 8; use 1 to 4'):
        hook.before_train(runner_with(model))


def test_unknown_scheme_is_refused():
    with pytest.raises(ValueError, match='bp_to_input, skipping, nearby_block'):
        PartialBackpropHook(update_scheme='all')


@pytest.mark.parametrize(
    ('probs', 'message'),
    [
        ((0.5, -0.1, 0.3, 0.3), 'must not be negative.*probability >= 0'),
        ((0.5, float('nan'), 0.3, 0.3), 'must not be negative'),
        ((0, 0, 0, 0), 'sums to zero.*positive probability'),
    ],
)
def test_bad_probabilities_name_the_remedy(probs, message):
    with pytest.raises(ValueError, match=message):
        PartialBackpropHook(exit_probs=probs)


def test_wrong_number_of_probabilities_names_the_right_one(model):
    hook = PartialBackpropHook(exit_probs=(0.5, 0.5))
    with pytest.raises(ValueError, match=r'2 values .* 4 exits.*0\.25, 0\.25, 0\.25'):
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
    monkeypatch.setattr(module, 'get_model', lambda _: model)
    with pytest.raises(ValueError, match='StagewiseDataParallel'):
        PartialBackpropHook().before_train(runner_with(wrapper))


def test_phases_change_what_they_name_and_keep_the_rest(model):
    hook = PartialBackpropHook(
        exit_probs=(1, 0, 0, 0),
        phases=[
            dict(begin=0.3, view_scale=0.5),
            dict(begin=0.8, exit_probs=(0, 0, 0, 1), windows=False),
            dict(begin=0.9, supervision='exit'),
        ],
    )
    runner = runner_with(model)
    runner.max_iters = 10
    seen = [
        (plan.exit_stage, plan.windows, plan.view_scale, plan.supervision)
        for plan in plans(hook, runner, range(10))
    ]
    assert seen == (
        [(1, True, 1.0, None)] * 3
        + [(1, True, 0.5, None)] * 5
        + [(4, False, 0.5, None), (4, False, 0.5, 'exit')]
    )


def test_windows_may_change_with_the_phase():
    model = build(moco_config(crop_layer=dict(type='HardPairCropLayer')))
    hook = PartialBackpropHook(
        phases=[
            dict(begin=0, select='random'),
            dict(begin=0.5, select='easy', crop_ratio=0.9),
        ]
    )
    runner = runner_with(model)
    runner.max_iters = 4
    seen = [(p.select, p.crop_ratio) for p in plans(hook, runner, range(4))]
    assert seen == [('random', None)] * 2 + [('easy', 0.9)] * 2


@pytest.mark.parametrize(
    ('layer', 'change', 'reason'),
    [
        (
            dict(type='HardPairCropLayer', num_candidates=1),
            dict(select='easy'),
            'nothing to choose',
        ),
        (dict(type='HardExampleLayer'), dict(select='easy'), 'HardPairCropLayer'),
        (None, dict(crop_ratio=0.9), 'model.crop_layer=None'),
    ],
)
def test_windows_that_a_phase_cannot_have_are_refused(layer, change, reason):
    model = build(moco_config(crop_layer=layer))
    hook = PartialBackpropHook(phases=[dict(begin=0.5, **change)])
    with pytest.raises(ValueError, match=reason):
        hook.before_train(runner_with(model))


def test_entries_are_drawn_among_the_stages_up_to_the_exit(model):
    hook = PartialBackpropHook(exit_probs=(0, 1, 0, 3), entry_probs=(1, 2, 5))
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


def test_entries_may_change_with_the_phase(model):
    late = dict(begin=0.5, exit_probs=(0, 0, 1, 1), entry_probs=(0, 1))
    hook = PartialBackpropHook(phases=[late])
    runner = runner_with(model)
    runner.max_iters = 40
    first = [plan.first_stage for plan in plans(hook, runner, range(40))]
    assert first == [1] * 20 + [2] * 20


def test_the_best_preset_rests_one_stage_from_half_and_two_from_three_quarters(model):
    config = Config.fromfile(ROOT / 'configs/small/accel-mocov2_r18_cifar10-best.py')
    (settings,) = config.custom_hooks
    hook = PartialBackpropHook(**{k: v for k, v in settings.items() if k != 'type'})
    runner = runner_with(model)
    runner.max_iters = 40
    drawn = [(p.first_stage, p.exit_stage) for p in plans(hook, runner, range(40))]
    assert drawn == [(1, 4)] * 20 + [(2, 4)] * 10 + [(3, 4)] * 10


def test_more_entries_than_stages_are_refused(model):
    hook = PartialBackpropHook(entry_probs=(1, 1, 1, 1, 1))
    with pytest.raises(ValueError, match='5 values but the model has 4 stages'):
        hook.before_train(runner_with(model))


def test_phases_do_not_change_within_an_update(model):
    hook = PartialBackpropHook(
        exit_probs=(1, 0, 0, 0), phases=[dict(begin=0.5, exit_probs=(0, 0, 0, 1))]
    )
    runner = runner_with(model, accumulative_counts=4)
    runner.max_iters = 12
    exits = [plan.exit_stage for plan in plans(hook, runner, range(12))]
    assert exits == [1] * 8 + [4] * 4


def test_distribution_weighs_phases_by_their_length(model):
    hook = PartialBackpropHook(phases=[dict(begin=0.8, exit_probs=(0, 0, 1, 1))])
    expected = {1: 0.2, 2: 0.2, 3: 0.2 + 0.1, 4: 0.2 + 0.1}
    total = dict.fromkeys(expected, 0.0)
    for probability, plan in hook.distribution(model):
        total[plan.exit_stage] += probability
    assert total == pytest.approx(expected)


@pytest.mark.parametrize(
    ('phases', 'reason'),
    [
        ([dict(exit_probs=(1, 1, 1, 1))], 'needs begin'),
        ([dict(begin=0.5, resolution=1)], 'needs begin, and of'),
        ([dict(begin=0.5), dict(begin=0.5)], 'in the order of begin'),
        ([dict(begin=0), dict(begin=0)], 'in the order of begin'),
        (dict(begin=0.5), 'not a list of dicts'),
        ('late', 'not a list of dicts'),
        ([dict(begin='half')], "begins at 'half'"),
        ([dict(begin=0.5, view_scale='half')], "view_scale='half'"),
        ([dict(begin=0.5, windows='none')], "windows='none'"),
        ([dict(begin=0.5, select='hardest')], "select='hardest'"),
        ([dict(begin=0.5, crop_ratio='0.9')], "crop_ratio='0.9'"),
        ([dict(begin=0.5, crop_ratio=7)], 'crop_ratio=7'),
        (
            [dict(begin=0.5, windows=False), dict(begin=0.7, select='easy')],
            'windows that are off',
        ),
        ([dict(begin=0.5, entry_probs=None)], 'entry_probs=None is not a list'),
        ([dict(begin=1.0)], 'begins at 1.0'),
        ([dict(begin=0.5, view_scale=0)], 'view_scale=0'),
        ([dict(begin=0.5, supervision='all')], "supervision='all'"),
        ([dict(begin=0.5, entry_probs=(0, 1))], 'nothing to train before exit 1'),
        ([dict(begin=0.5, entry_probs=(0, 0))], 'entry_probs.*sums to zero'),
        ([dict(begin=0.5, exit_probs=(0, 0, 0, 0))], 'sums to zero'),
    ],
)
def test_phases_that_cannot_be_are_refused(phases, reason):
    with pytest.raises(ValueError, match=reason):
        PartialBackpropHook(phases=phases)


def runs_with_windows(model_options, **hook_options):
    layer = dict(type='HardPairCropLayer', **hook_options.pop('layer', {}))
    model = build(moco_config(crop_layer=layer, **model_options))
    runner = runner_with(model)
    told = []
    runner.logger = SimpleNamespace(warning=told.append)
    PartialBackpropHook(**hook_options).before_train(runner)
    return told


LAST = dict(exit_probs=(0, 0, 0, 1))


@pytest.mark.parametrize(
    ('model_options', 'hook_options', 'stages'),
    [
        ({}, LAST, '1, 2'),
        ({}, dict(exit_probs=(1, 0, 0, 1)), '2'),
        ({}, dict(update_scheme='skipping'), '1, 2'),
        ({}, {}, None),
        (dict(supervision='cumulative'), LAST, None),
        ({}, dict(LAST, layer=dict(select='random')), None),
        ({}, dict(LAST, layer=dict(num_candidates=1)), None),
        ({}, dict(LAST, phases=[dict(begin=0, windows=False)]), None),
        ({}, dict(LAST, phases=[dict(begin=0.5, windows=False)]), '1, 2'),
        (dict(supervision='cumulative'), dict(LAST, entry_probs=(0, 1)), '1'),
        ({}, dict(phases=[dict(begin=0.5, **LAST)]), None),  # trained in the beginning
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
    late = dict(phases=[dict(begin=0.5, **LAST)])
    with pytest.raises(ValueError, match="windows after stage 1.*key_forward='full'"):
        runs_with_windows(truncated, **late)
    assert not runs_with_windows(truncated)
    assert not runs_with_windows(truncated, layer=dict(num_candidates=1), **late)
    assert not runs_with_windows(dict(truncated, supervision='cumulative'), **late)


@pytest.mark.parametrize(
    'settings',
    [
        dict(entry_probs=(1, 1)),
        dict(phases=[dict(begin=0.5, entry_probs=(1, 1))]),
        dict(phases=[dict(begin=0.5, exit_probs=(0, 0, 0, 1))]),
    ],
)
def test_skipping_refuses_what_it_would_ignore(settings):
    with pytest.raises(ValueError, match='leave (out entry|exit)_probs'):
        PartialBackpropHook(update_scheme='skipping', **settings)


@pytest.mark.parametrize(
    'settings',
    [
        dict(num_blocks=3),
        dict(num_blocks=3, update_scheme='nearby_block'),
        dict(entry_probs=(1, 1), update_scheme='nearby_block'),
        dict(phases=[dict(begin=0.5, entry_probs=(1,))], update_scheme='nearby_block'),
    ],
)
def test_settings_of_another_scheme_are_refused(settings):
    with pytest.raises(ValueError, match='leave (it out|out entry_probs)'):
        PartialBackpropHook(**settings)


def test_nearby_block_draws_its_own_entries():
    with pytest.raises(ValueError, match="'nearby_block' says itself"):
        PartialBackpropHook(update_scheme='nearby_block', entry_probs=(1,))
