"""MMEngine's moving average is the reference."""

import copy

import pytest
import torch
from mmengine.model import ExponentialMovingAverage
from torch import nn

from mmaccel.models.utils.fused_ema import FusedEMA


def network():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1))


def change(model, seed):
    torch.manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p))
    model(torch.randn(2, 3, 6, 6))


@pytest.mark.parametrize('momentum', [0.001, 0.3])
def test_equals_mmengine_bit_for_bit_and_across_a_resume(momentum):
    model = network()
    reference = ExponentialMovingAverage(model, momentum)
    fused = FusedEMA(model, momentum)
    for step in range(8):
        change(model, step)
        if step == 5:  # a checkpoint of either goes into the other
            saved = copy.deepcopy(reference.state_dict())
            fused = FusedEMA(network(), momentum)
            fused.load_state_dict(saved)
        reference.update_parameters(model)
        fused.update_parameters(model)
        ours = fused.state_dict()
        assert list(ours) == list(reference.state_dict())
        for name, x in reference.state_dict().items():
            assert torch.equal(ours[name], x), (step, name)


def test_weights_loaded_before_the_first_step_do_not_count_as_steps():
    model = network()
    fused = FusedEMA(model, 0.1)
    fused.load_state_dict(FusedEMA(network(), 0.1).state_dict())
    change(model, 0)
    fused.update_parameters(model)
    assert torch.equal(fused.module[0].weight, model[0].weight)
