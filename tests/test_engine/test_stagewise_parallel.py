"""Two gloo processes: torch's own wrapper is the reference, its traffic the bar."""

import copy

import pytest
import torch
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from torch import nn

from mmaccel.engine.stagewise_parallel import StagewiseDataParallel, make_buckets
from mmaccel.models.plan import StepPlan
from tests.builders import CROP, build, moco_config, views
from tests.processes import fork_ranks

EXITS = (4, 1, 2, 3, 1)


def plan(exit_stage, step, blocks=None):
    return StepPlan(exit_stage=exit_stage, window_seed=(1, step), blocks=blocks)


def run(rank, wrap, model, accumulate, blocks):
    """Train; return parameters, what had a gradient in each step, and bytes."""
    wrapper = wrap(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    optim = OptimWrapper(optimizer, accumulative_counts=accumulate)
    optim.initialize_count_status(wrapper, 0, len(EXITS) * accumulate)
    touched = []
    optimizer.register_step_pre_hook(
        lambda *_: touched.append(
            {n for n, p in wrapper.module.named_parameters() if p.grad is not None}
        )
    )
    for step, exit_stage in enumerate(EXITS):
        for micro in range(accumulate):
            wrapper.module.plan = plan(exit_stage, step, blocks)
            torch.manual_seed(100 * step + 10 * micro + rank)
            batch = dict(
                inputs=views(seed=100 * rank + 10 * step + micro), data_samples=[]
            )
            log = wrapper.train_step(batch, optim)
            assert torch.isfinite(log['loss'])
    trained = {n: p.detach() for n, p in wrapper.module.named_parameters()}
    return trained, touched, getattr(wrapper, 'bytes_reduced', None)


def compare(rank, accumulate, blocks, own_group):
    """Assert that both wrappers train alike; return this rank's sums and bytes."""
    torch.manual_seed(rank)  # both wrappers send rank 0's weights
    models = [build(moco_config(crop_layer=CROP)) for _ in range(2)]
    models[1].load_state_dict(copy.deepcopy(models[0].state_dict()))
    expected, _, _ = run(
        rank,
        lambda m: MMDistributedDataParallel(m, find_unused_parameters=True),
        models[0],
        accumulate,
        blocks,
    )
    trained, touched, reduced = run(
        rank,
        lambda m: StagewiseDataParallel(m, own_group=own_group),
        models[1],
        accumulate,
        blocks,
    )
    for name, x in expected.items():
        torch.testing.assert_close(trained[name], x, rtol=1e-6, atol=1e-7)
    sizes = {
        n: 4 * p.numel() for n, p in models[1].named_parameters() if p.requires_grad
    }
    assert reduced == sum(sizes[name] for step in touched for name in step)
    for exit_stage, names in zip(EXITS, touched):
        behind = tuple(f'backbone.layer{i}.' for i in range(exit_stage + 1, 5))
        assert not [n for n in names if n.startswith(behind or ('none',))]
        own = {n for n in sizes if n.startswith(f'neck.projectors.{exit_stage - 1}.')}
        assert own and own <= names
    share = reduced / (len(EXITS) * sum(sizes.values()))
    return share, [x.double().sum().item() for x in trained.values()]


@pytest.mark.parametrize(
    'accumulate, blocks, own_group',
    [(1, None, True), (2, None, False), (1, frozenset({0, 2, 3, 5, 7}), False)],
)
def test_equals_torchs_wrapper_with_less_traffic(accumulate, blocks, own_group):
    results = fork_ranks(lambda rank: compare(rank, accumulate, blocks, own_group))
    (share, sums), (_, others) = results
    assert sums == others  # the ranks stay together
    assert share < 0.5


def average(rank):
    model = StagewiseDataParallel(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1)))
    x = torch.ones(4, 2) * (rank + 1)
    with model.no_sync():
        model(x).sum().backward()
    before = model.module[0].weight.grad.clone()
    model(x).sum().backward()  # reduces what has accumulated
    weight = model.module[0].weight
    return [x.tolist() for x in (before, weight.grad, weight)]


def test_accumulated_gradients_are_averaged_when_they_are_synchronised():
    (a, mean_a, w_a), (b, mean_b, w_b) = fork_ranks(average)
    assert w_a == w_b and a != b and mean_a == mean_b
    torch.testing.assert_close(torch.tensor(mean_a), torch.tensor(a) + torch.tensor(b))


def test_buckets_hold_every_trainable_parameter_once_and_one_stage_each():
    model = build(moco_config(crop_layer=CROP))
    buckets = make_buckets(model, capacity=20_000)
    names = {p: n for n, p in model.named_parameters()}
    held = [p for bucket in buckets for p in bucket]
    assert len(held) == len(set(held))
    assert set(held) == {p for p in model.parameters() if p.requires_grad}
    for bucket in buckets:
        units = {'.'.join(names[p].split('.')[:2]) for p in bucket}
        stages = {u for u in units if u.startswith('backbone.layer')}
        assert len(stages) <= 1 and (not stages or units == stages)
        assert sum(4 * p.numel() for p in bucket[:-1]) < 20_000


def fail_then_train(rank):
    """A backward pass that raises, and one after it, against the mean of all ranks."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 1))
    alone = copy.deepcopy(module)
    wrapper = StagewiseDataParallel(module, bucket_mb=1e-5)
    x = torch.full((2, 4), rank + 1.0, requires_grad=True)

    def fail(_):
        raise RuntimeError('out of memory, say')

    handle = x.register_hook(fail)
    with pytest.raises(RuntimeError, match='out of memory'):
        wrapper(x).sum().backward()
    handle.remove()
    module.zero_grad()
    wrapper(x).sum().backward()
    alone(x).sum().backward()
    for p, reference in zip(module.parameters(), alone.parameters()):
        torch.distributed.all_reduce(reference.grad)
        torch.testing.assert_close(p.grad, reference.grad / 2)


def test_a_failed_backward_pass_is_forgotten():
    fork_ranks(fail_then_train)
