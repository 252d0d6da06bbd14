"""What a schedule changes in a step, against models that have it built in."""

import copy

import pytest
import torch
from torch.nn.functional import interpolate

from mmaccel.models.plan import StepPlan
from tests.builders import CROP, build, moco_config, simclr_config, swav_config, views

METHODS = dict(
    moco=moco_config,
    simclr=simclr_config,
    swav=lambda **options: swav_config([2], **options),
)


def losses_and_gradients(model, images, plan):
    """One step's results; everything random in it comes from the plan."""
    model.plan = plan
    torch.manual_seed(0)
    losses = model.loss(images, [])
    sum(losses.values()).backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return losses, gradients


def assert_same(first, second):
    for one, other in zip(first, second):
        assert one.keys() == other.keys()
        for name in one:
            assert torch.equal(one[name], other[name]), name


@pytest.mark.parametrize('method', METHODS)
def test_a_plan_without_windows_is_a_model_without_crop_layer(method):
    with_layer = build(METHODS[method](crop_layer=CROP))
    without = build(METHODS[method](crop_layer=None))
    without.load_state_dict(with_layer.state_dict())
    images = views(batch=4, seed=3)
    seeded = dict(exit_stage=3, window_seed=(1, 2))
    plain = losses_and_gradients(without, images, StepPlan(**seeded))
    cut = losses_and_gradients(copy.deepcopy(with_layer), images, StepPlan(**seeded))
    off = losses_and_gradients(with_layer, images, StepPlan(**seeded, windows=False))
    assert_same(off, plain)
    assert not torch.equal(cut[0]['loss_exit3'], plain[0]['loss_exit3'])


@pytest.mark.parametrize('method', METHODS)
def test_scaled_views_are_views_that_were_resized_before(method):
    model = build(METHODS[method](crop_layer=CROP))
    same = copy.deepcopy(model)
    images = views(batch=4, seed=3)
    small = [
        interpolate(view, size=(48, 48), mode='bilinear', antialias=True)
        for view in images
    ]
    scaled = StepPlan(exit_stage=3, window_seed=(1, 2), view_scale=0.75)
    as_it_is = StepPlan(exit_stage=3, window_seed=(1, 2))
    assert_same(
        losses_and_gradients(model, images, scaled),
        losses_and_gradients(same, small, as_it_is),
    )


@pytest.mark.parametrize('loss_on', ['exit', 'cumulative'])
@pytest.mark.parametrize('method', METHODS)
def test_a_plan_may_say_which_losses_count(method, loss_on):
    other = {'exit': 'cumulative', 'cumulative': 'exit'}[loss_on]
    planned = build(METHODS[method](loss_on=other))
    built_so = build(METHODS[method](loss_on=loss_on))
    built_so.load_state_dict(planned.state_dict())
    images = views(batch=4, seed=3)
    says = StepPlan(exit_stage=3, window_seed=(1, 2), loss_on=loss_on)
    silent = StepPlan(exit_stage=3, window_seed=(1, 2))
    assert_same(
        losses_and_gradients(planned, images, says),
        losses_and_gradients(built_so, images, silent),
    )
