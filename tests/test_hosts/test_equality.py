"""Accelerated models against the classes of either host, and across the hosts."""

import copy

import pytest
import torch

from mmaccel import host
from mmaccel.models.plan import StepPlan

from ..builders import views
from ..steps import assert_same_states, sgd, step
from .models import METHODS, build, model_config, twins

CROP = dict(type='HardPairCropLayer', after_stages=(1, 2))


@pytest.mark.parametrize('method', METHODS)
def test_twenty_steps_equal_the_hosts_class(package, method):
    accel, upstream = twins(package, method)
    optimizers = sgd(accel), sgd(upstream)
    for i in range(20):
        inputs = views(seed=i)
        losses = [
            step(model, optimizer, copy.deepcopy(inputs), seed=i)
            for model, optimizer in zip((accel, upstream), optimizers)
        ]
        assert torch.equal(*losses), f'step {i}'
    for (key, mine), theirs in zip(
        accel.backbone.state_dict().items(), upstream.backbone.state_dict().values()
    ):
        assert torch.equal(mine, theirs), key
    if method == 'MoCo':
        assert torch.equal(accel.queues[-1].features, upstream.queue)


@pytest.mark.parametrize('method', METHODS)
def test_exits_and_windows_are_the_same_in_both_hosts(both, method):
    models = [
        build(package, dict(model_config(package, method, True), crop_layer=CROP))
        for package in host.HOSTS
    ]
    models[1].load_state_dict(models[0].state_dict())
    optimizers = [sgd(model) for model in models]
    for i in range(8):
        losses = []
        for model, optimizer in zip(models, optimizers):
            plan = StepPlan(exit_stage=1 + i % 4, window_seed=(i,))
            model.plan = plan
            losses.append(step(model, optimizer, views(seed=i), seed=i))
        assert torch.equal(*losses), f'step {i}'
    assert_same_states(*models)
    models[0].load_state_dict(models[1].state_dict())  # and back, strictly


def test_momentum_is_what_the_hosts_config_means(package):
    config = model_config(package, 'MoCo', True)
    assert build(package, config).encoder_k.momentum == pytest.approx(0.01)
    config.pop('momentum')
    assert build(package, config).encoder_k.momentum == pytest.approx(0.001)


@pytest.mark.parametrize('other', [0.004, 0.05, 0.4])
def test_momentum_of_the_other_host_is_refused(package, other):
    momentum = other if package.momentum_of_old else 1 - other
    config = dict(model_config(package, 'MoCo', True), momentum=momentum)
    with pytest.raises(ValueError, match=r'model\.momentum='):
        build(package, config)
