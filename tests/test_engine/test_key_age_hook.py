"""Keys told apart by age rather than by image are reported, once per exit."""

from types import SimpleNamespace

import pytest
from mmengine.logging import MessageHub

from mmaccel.engine.hooks.key_age_hook import KeyAgeHook


def warnings_of(request, epochs, negatives=('queue',) * 4, begin=0):
    """Run epochs of measures (exit, gap, positive, negative) through the hook."""
    told = []
    runner = SimpleNamespace(
        model=SimpleNamespace(negatives=negatives),
        message_hub=MessageHub(request.node.name),
        logger=SimpleNamespace(warning=told.append),
    )
    hook = KeyAgeHook(begin=begin)
    for runner.epoch, measures in enumerate(epochs):
        hook.before_train_epoch(runner)
        for e, *values in measures:
            names = [f'{n}_exit{e}' for n in ('age_gap', 'pos_sim', 'neg_sim')]
            outputs = dict(zip(names, values))
            for name, value in outputs.items():
                runner.message_hub.update_scalar(f'train/{name}', value)
            hook.after_train_iter(runner, 0, outputs=outputs)
            hook.after_train_iter(runner, 0, outputs=dict(loss_exit1=1.0))
        hook.after_train_epoch(runner)
    return told


def test_each_exit_is_told_of_once_with_its_remedy(request):
    epoch = [(2, 0.7, 0.9, 0.5), (1, 0.1, 0.9, 0.2), (2, 0.5, 0.9, 0.5)]
    told = warnings_of(request, [epoch, [*epoch, (4, -0.6, 0.8, 0.4)], epoch])
    assert len(told) == 2
    for part in ('Exit 2 ', 'epoch 1', '0.60', '0.40', "negatives='batch'"):
        assert part in told[0]
    assert "model.negatives=['queue', 'batch', 'queue', 'queue']" in told[0]
    assert 'Exit 4 ' in told[1] and 'epoch 2' in told[1]
    assert "model.negatives=['queue', 'batch', 'queue', 'batch']" in told[1]


@pytest.mark.parametrize('gap', [0.4, -0.4, float('nan')])
def test_age_that_explains_less_is_not_told_of(request, gap):
    assert warnings_of(request, [[(3, gap, 0.9, 0.4), (3, gap, 0.9, 0.4)]]) == []


def test_collapsed_features_are_not_told_apart_by_age(request):
    assert warnings_of(request, [[(3, 0.02, 0.99, 0.98)]]) == []


def test_the_queue_fills_before_it_is_checked(request):
    epoch = [(1, 0.9, 0.9, 0.9)]
    assert warnings_of(request, [epoch], begin=1) == []
    assert len(warnings_of(request, [epoch, epoch], begin=1)) == 1
