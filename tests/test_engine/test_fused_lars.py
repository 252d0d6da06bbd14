"""Upstream's LARS is the reference."""

import copy

import pytest
import torch
from mmselfsup.engine.optimizers import LARS
from torch import nn

from mmaccel.engine.fused_lars import FusedLARS, scaled


def network():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8 * 36, 5)
    )
    nn.init.zeros_(model[3].bias)  # a norm of zero
    return model


def train(model, kind, dtype, steps=20, **options):
    model = model.to(dtype)
    weights = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [dict(params=weights), dict(params=others, lars_exclude=True)]
    if options.pop('one_group', False):
        groups = [dict(params=weights + others)]
    if options.pop('one_each', False):  # as paramwise_cfg makes them
        groups = [dict(params=[p]) for p in weights]
        groups += [dict(params=[p], lars_exclude=True) for p in others]
    optimizer = kind(groups, lr=0.05, weight_decay=1e-2, **options)
    for step in range(steps):
        torch.manual_seed(step)
        out = model(torch.randn(4, 3, 8, 8, dtype=dtype))
        if step % 3 == 0:
            out = out.detach() + model[3].bias  # the others have no gradient
        out.square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return optimizer


@pytest.mark.parametrize(
    'options',
    [
        dict(momentum=0.9),
        dict(),
        dict(momentum=0.9, nesterov=True),
        dict(momentum=0.9, dampening=0.3, one_group=True),
        dict(momentum=0.9, one_each=True),
    ],
)
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_equals_upstream(options, dtype):
    expected = network()
    model = copy.deepcopy(expected)
    train(expected, LARS, dtype, **dict(options))
    train(model, FusedLARS, dtype, **dict(options))
    tolerance = 1e-5 if dtype is torch.float32 else 1e-12
    for (name, x), p in zip(expected.named_parameters(), model.parameters()):
        torch.testing.assert_close(
            p, x, rtol=tolerance, atol=tolerance, msg=lambda m, n=name: f'{n}: {m}'
        )


def test_state_is_upstreams():
    expected = network()
    model = copy.deepcopy(expected)
    old = train(expected, LARS, torch.float32, momentum=0.9)
    new = train(model, FusedLARS, torch.float32, momentum=0.9)
    new.load_state_dict(old.state_dict())
    for a, b in zip(old.param_groups, new.param_groups):
        for p, q in zip(a['params'], b['params']):
            buffers = old.state[p]['momentum_buffer'], new.state[q]['momentum_buffer']
            assert torch.equal(*buffers)


def test_groups_of_equal_settings_are_updated_together(monkeypatch):
    updated = []
    update = FusedLARS._update

    def count(self, group, params):
        updated.append(len(params))
        update(self, group, params)

    monkeypatch.setattr(FusedLARS, '_update', count)
    optimizer = train(network(), FusedLARS, torch.float32, steps=2, one_each=True)
    assert updated[-1] + updated[-2] == 6 and len(updated) == 3  # step 0 has a bias
    assert len(optimizer.param_groups) == 6  # as given


def test_factors_on_a_device(monkeypatch):
    """As on CUDA, which has no kernel of its own for it."""
    shapes = [(8, 3, 3, 3), (5,), (4, 2), (1,)]
    tensors = [torch.randn(shape) for shape in shapes]
    tensors[0] = tensors[0].contiguous(memory_format=torch.channels_last)
    factors = torch.rand(4, dtype=torch.float64)
    expected = [x * f.float() for x, f in zip(tensors, factors)]

    class OnDevice(torch.Tensor):
        device = torch.device('meta')

    monkeypatch.setattr('mmaccel.engine.fused_lars.to_device', lambda x, device: x)
    found = scaled(tensors, factors.as_subclass(OnDevice))
    for x, e, given in zip(found, expected, tensors):
        assert torch.equal(x, e) and x.stride() == given.stride()
