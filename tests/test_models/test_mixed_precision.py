"""Under bfloat16, networks compute in 16 bits; similarities, losses and codes in 32."""

import copy
from unittest import mock

import pytest
import torch
from mmengine.registry import OPTIM_WRAPPERS

from mmaccel.models.losses import accel_swav_loss
from mmaccel.models.plan import StepPlan
from tests.builders import (
    CROP,
    build,
    moco_config,
    multi_views,
    simclr_config,
    swav_config,
    views,
)
from tests.steps import sgd


def is_full(x):
    """Whether values have more digits than bfloat16 has."""
    return x.dtype == torch.float32 and (x != x.bfloat16().float()).float().mean() > 0.9


def run(model, inputs):
    """One step under autocast; the types that the last stage was given."""
    seen = []
    model.backbone.layer4.register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    model.plan = StepPlan(exit_stage=4)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        losses = model.loss(inputs, [])
    sum(losses.values()).backward()
    assert {x.dtype for x in seen} == {torch.bfloat16}
    assert all(loss.dtype == torch.float32 for loss in losses.values())
    assert all(p.grad.dtype == torch.float32 for p in model.backbone.parameters())


@pytest.mark.parametrize('num_crops', [[2], [2, 2]])
@pytest.mark.parametrize('config', [moco_config, simclr_config])
def test_similarities_of_losses_and_scores_are_full_precision(config, num_crops):
    model = build(config(crop_layer=CROP))
    given = []
    for name in ('forward', 'score'):
        method = getattr(model.head, name)
        model.head.__dict__[name] = lambda *x, m=method: given.append(x) or m(*x)
    run(model, multi_views(num_crops))
    assert len(given) >= 3  # windows after two stages, the loss
    for pos, neg in given:
        assert is_full(pos) and is_full(neg)


@pytest.mark.parametrize('windows', [CROP, None])
def test_codes_are_full_precision(windows):
    model = build(swav_config([2], crop_layer=windows))
    given = []

    def record(scores, *args):
        given.append(scores)
        return sinkhorn(scores, *args)

    sinkhorn = accel_swav_loss.distributed_sinkhorn
    with mock.patch.object(accel_swav_loss, 'distributed_sinkhorn', record):
        run(model, views())
    assert len(given) == (3 if windows else 1)  # all views at once
    assert all(map(is_full, given))


def test_wrapper_runs_the_forward_pass_alone_in_bfloat16():
    model = build(moco_config(crop_layer=CROP))
    model.plan = StepPlan(exit_stage=4)
    wrapper = OPTIM_WRAPPERS.build(
        dict(type='mmselfsup.AutocastOptimWrapper', optimizer=sgd(model))
    )
    before = copy.deepcopy(model.state_dict())
    seen = []
    model.backbone.layer4.register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    model.train_step(dict(inputs=views(), data_samples=[]), wrapper)
    assert seen[0].dtype == torch.bfloat16
    assert not torch.is_autocast_enabled('cpu')
    changed = model.state_dict()['backbone.layer1.0.conv1.weight']
    assert changed.dtype == torch.float32
    assert not torch.equal(changed, before['backbone.layer1.0.conv1.weight'])
