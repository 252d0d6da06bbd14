"""Plain training steps and comparisons for tests of algorithms."""

import torch


def sgd(model):
    """An optimizer whose momentum and decay would move untouched parameters."""
    return torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-2)


def step(model, optimizer, inputs, seed):
    """One optimizer step; the seed is the shuffle's. Returns the loss."""
    torch.manual_seed(seed)
    losses = model.loss(inputs, [])
    loss = sum(value for key, value in losses.items() if 'loss' in key)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


def assert_same_states(ours, theirs):
    """Parameters and buffers are bit-identical, in order."""
    mine, other = ours.state_dict(), theirs.state_dict()
    assert len(mine) == len(other)
    for (key, a), b in zip(mine.items(), other.values()):
        assert torch.equal(a, b), key
