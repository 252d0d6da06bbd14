"""A loss at its chance level for an epoch is reported, another is not."""

from types import SimpleNamespace

import pytest
from mmengine.config import Config
from mmengine.logging import MessageHub

from mmaccel.engine.hooks.stuck_loss_hook import StuckLossHook


def warnings_of(model, losses, epoch=1, chance=8.006, weights=(1, 1, 1, 1)):
    """Run one epoch of given losses, by exit, through the hook."""
    told = []
    hub = MessageHub(f'stuck_{model}_{epoch}_{len(losses)}_{losses}')
    runner = SimpleNamespace(
        cfg=Config(dict(model=dict(type=model))),
        model=SimpleNamespace(loss_weights=weights),
        epoch=epoch,
        message_hub=hub,
        logger=SimpleNamespace(warning=told.append),
    )
    for exit_stage in () if chance is None else range(1, 5):
        hub.update_scalar(f'train/chance_exit{exit_stage}', chance)
    hook = StuckLossHook()
    hook.before_train_epoch(runner)
    for exit_stage, value in losses:
        outputs = {f'loss_exit{exit_stage}': value}
        hub.update_scalar(f'train/loss_exit{exit_stage}', value)
        hook.after_train_iter(runner, 0, outputs=outputs)
    hook.after_train_epoch(runner)
    return told


@pytest.mark.parametrize(
    ('model', 'check'),
    [('AccelSwAV', 'prototypes are frozen'), ('AccelSimCLR', 'temperature')],
)
def test_stuck_exit_is_named_with_what_to_check(model, check):
    told = warnings_of(model, [(2, 8.01), (3, 6.5), (2, 8.0), (3, 6.4)])
    assert len(told) == 1
    assert 'Likely collapse: the mean loss of exit 2 in epoch 2' in told[0]
    assert check in told[0]


def test_a_weighted_loss_has_a_weighted_chance_level():
    losses = [(1, 8.006), (2, 4.003), (3, 0.0)]
    (told,) = warnings_of('AccelSimCLR', losses, weights=(0.5, 0.5, 0, 1))
    assert 'exit 2' in told and '4.003' in told


def test_one_unlucky_iteration_is_no_collapse():
    assert warnings_of('AccelSwAV', [(2, 8.006), (2, 7.2)]) == []


def test_first_epoch_and_models_without_chance_are_not_judged():
    assert warnings_of('AccelSwAV', [(2, 8.006)], epoch=0) == []
    assert warnings_of('SwAV', [(2, 8.006)], chance=None) == []
