"""Branches that stop, start late or skip, against plain autograd."""

import copy

import pytest
import torch
from mmselfsup.registry import MODELS
from torch import nn

from mmaccel.models.plan import StepPlan
from mmaccel.models.utils.backbones import count_blocks
from mmaccel.models.utils.stages import split_stages
from tests.builders import (
    BACKBONE,
    CROP,
    build,
    moco_config,
    simclr_config,
    swav_config,
    views,
)

DEEP = dict(BACKBONE, depth=50)


def two_view_swav(**overrides):
    return swav_config([2], **overrides)


class PlainSkipping(nn.Module):
    """The same backbone; unselected residual branches are detached, block by block."""

    def __init__(self, backbone, blocks):
        super().__init__()
        self.backbone = backbone
        self.blocks = blocks

    def forward(self, x):
        net = self.backbone
        x = net.maxpool(net.relu(net.norm1(net.conv1(x))))
        number = 0
        for name in ('layer1', 'layer2', 'layer3', 'layer4'):
            for block in getattr(net, name):
                identity = x if block.downsample is None else block.downsample(x)
                out = block.relu(block.norm1(block.conv1(x)))
                out = block.norm2(block.conv2(out))
                if hasattr(block, 'conv3'):
                    out = block.norm3(block.conv3(block.relu(out)))
                if number not in self.blocks:
                    out = out.detach()
                x = block.relu(out + identity)
                number += 1
        return x


@pytest.mark.parametrize('config', [BACKBONE, DEEP], ids=['basic', 'bottleneck'])
def test_skipping_equals_autograd_with_detached_residual_branches(config):
    backbone = MODELS.build(copy.deepcopy(config))
    plain = PlainSkipping(copy.deepcopy(backbone), blocks := (0, 3, 5))
    ours = x = views(count=1, size=64)[0]
    for stage in split_stages(backbone, blocks):
        ours = stage(ours)
    theirs = plain(x)
    torch.testing.assert_close(ours, theirs)
    weights = torch.randn_like(ours)
    (ours * weights).sum().backward()
    (theirs * weights).sum().backward()
    missing = 0
    for (name, p), q in zip(backbone.named_parameters(), plain.parameters()):
        assert (p.grad is None) == (q.grad is None), name
        missing += p.grad is None
        if p.grad is not None:
            torch.testing.assert_close(p.grad, q.grad, msg=lambda m, n=name: n + m)
    assert missing > 0
    for a, b in zip(backbone.buffers(), plain.buffers()):
        torch.testing.assert_close(a, b)


def test_all_blocks_selected_is_the_plain_network():
    backbone = MODELS.build(copy.deepcopy(BACKBONE))
    assert count_blocks(backbone) == 8
    twin = copy.deepcopy(backbone)
    out = x = views(count=1)[0]
    for stage in split_stages(backbone, range(8)):
        out = stage(out)
    assert torch.equal(out, twin(x)[-1])
    out.sum().backward()
    assert all(p.grad is not None for p in backbone.parameters())


@pytest.mark.parametrize('make', [moco_config, simclr_config])
@pytest.mark.parametrize('first', [1, 2, 3, 4])
def test_nothing_before_the_first_stage_gets_a_gradient(make, first):
    model = build(make(crop_layer=CROP))
    plan = StepPlan(exit_stage=4, first_stage=first)
    assert run(model, plan) == set(range(first, 5))


@pytest.mark.parametrize('make', [moco_config, simclr_config])
def test_skipped_blocks_get_no_gradient(make):
    model = build(make(crop_layer=CROP))
    run(model, StepPlan(exit_stage=4, blocks=(1, 6)))
    for number in range(8):
        block = getattr(model.backbone, f'layer{number // 2 + 1}')[number % 2]
        for name, p in block.named_parameters():
            trained = number in (1, 6) or name.startswith('downsample')
            assert (p.grad is not None) == trained, (number, name)
    assert model.backbone.conv1.weight.grad is not None


def run(model, plan):
    """Back-propagate once; return the stages whose parameters have a gradient."""
    model.plan = plan
    model.parse_losses(model.loss(views(), []))[0].backward()
    return {
        int(name[14]) if name.startswith('backbone.layer') else 1
        for name, p in model.named_parameters()
        if name.startswith('backbone') and p.grad is not None
    }


def test_late_start_gives_the_gradients_of_a_detached_input():
    model = build(simclr_config(loss_on='cumulative'))
    plain = copy.deepcopy(model)
    model.plan = StepPlan(exit_stage=3, first_stage=2)
    torch.manual_seed(0)
    model.parse_losses(model.loss(views(), []))[0].backward()

    plain.plan = StepPlan(exit_stage=3)
    plain.loss_weights = (0.0, 1.0, 1.0, 1.0)
    plain.backbone.layer1.register_forward_hook(lambda *args: args[2].detach())
    plain.parse_losses(plain.loss(views(), []))[0].backward()
    for (name, p), q in zip(model.named_parameters(), plain.parameters()):
        if name.startswith(('backbone.layer2', 'backbone.layer3', 'neck.projectors.1')):
            torch.testing.assert_close(p.grad, q.grad)


@pytest.mark.parametrize('make', [moco_config, simclr_config, two_view_swav])
def test_channels_last_computes_the_same(make):
    plain = build(make(crop_layer=CROP)).double()
    fast = build(make(crop_layer=CROP, channels_last=True)).double()
    fast.load_state_dict(plain.state_dict())
    inputs = [view.double() for view in views()]
    maps = []
    fast.backbone.layer3.register_forward_hook(lambda *args: maps.append(args[2]))
    results = []
    for model in (plain, fast):
        model.plan = StepPlan(exit_stage=3, window_seed=(1,))
        torch.manual_seed(0)
        loss = model.parse_losses(model.loss(inputs, []))[0]
        loss.backward()
        results.append((loss.detach(), model.backbone.conv1.weight.grad))
    torch.testing.assert_close(results[0], results[1])
    assert maps[0].is_contiguous(memory_format=torch.channels_last)
    assert fast.backbone.layer2[0].conv1.weight.is_contiguous(
        memory_format=torch.channels_last
    )
