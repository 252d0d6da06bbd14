"""Upstream's MoCo in another layout: the same training, other memory."""

import copy
from types import SimpleNamespace

import torch
from torch import nn

from research.parts import ChannelsLastHook
from tests.builders import build, moco_config, views
from tests.steps import sgd, step


def is_nhwc(x):
    """Whether memory has the channels together, and not merely nothing to order."""
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def watch(model):
    """Layouts of the maps that convolutions give, filled as the model runs."""
    layouts = []
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda _, x, y: layouts.append(is_nhwc(y)))
    return layouts


def test_the_training_is_the_same_up_to_rounding_and_maps_have_the_layout():
    plain = build(moco_config(accel=False)).double()
    model = copy.deepcopy(plain)
    names = [name for name, _ in model.named_parameters()]
    ChannelsLastHook().before_train(SimpleNamespace(model=model))
    assert [name for name, _ in model.named_parameters()] == names

    spatial = [p for p in model.parameters() if p.dim() == 4 and p.size(2) > 1]
    assert len(spatial) == 2 * 17  # ResNet-18, the encoder of the keys as well
    assert all(is_nhwc(p) for p in spatial)
    maps, plain_maps = watch(model), watch(plain)

    ours, theirs = sgd(model), sgd(plain)
    for i in range(3):  # the later ones with momentum and the keys of the earlier
        inputs = [x.double() for x in views(seed=i)]
        loss = step(model, ours, inputs, seed=i)
        torch.testing.assert_close(
            loss, step(plain, theirs, inputs, seed=i), rtol=1e-9, atol=1e-9
        )
        for (name, p), q in zip(model.named_parameters(), plain.parameters()):
            for x, y in ((p, q), (p.grad, q.grad)):
                torch.testing.assert_close(x, y, rtol=1e-7, atol=1e-9, msg=name)
    torch.testing.assert_close(model.queue, plain.queue, rtol=1e-7, atol=1e-9)
    assert all(is_nhwc(p) for p in spatial)

    assert len(maps) == len(plain_maps) == 3 * 2 * 20
    assert all(maps) and not any(plain_maps)
