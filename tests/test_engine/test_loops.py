from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper
from torch import nn
from torch.optim import SGD
from torch.utils.data import DataLoader, RandomSampler

from mmaccel.engine import EpochSampler, ResumableTrainLoop
from mmaccel.errors import ConfigError


class Runner(SimpleNamespace):
    """As much of a runner as the loop needs; remembers the batches."""

    def __init__(self, hub, accumulation=1):
        self.weight = nn.Parameter(torch.zeros(()))
        super().__init__(
            visualizer=SimpleNamespace(),
            val_loop=None,
            world_size=1,
            model=nn.Identity(),
            optim_wrapper=OptimWrapper(SGD([self.weight], lr=1), accumulation),
            message_hub=hub,
            seen=[],
            calls=[],
            updates=[],
        )
        self.model.train_step = self.step

    def step(self, data, optim_wrapper):
        self.seen.append(data.tolist())
        before = self.weight.item()
        optim_wrapper.update_params(self.weight.clone())
        if self.weight.item() != before:
            self.updates.append(self.loop.iter)

    def call_hook(self, name, **kwargs):
        if name == 'before_train_epoch':
            self.loop.dataloader.sampler.set_epoch(self.loop.epoch)
        self.calls.append((name, kwargs.get('batch_idx')))


def start(
    request,
    batch=2,
    epoch=0,
    iteration=0,
    saved=None,
    sampler=EpochSampler,
    accumulation=1,
):
    """A runner that has gone through two epochs of 10 samples from a position."""
    hub = MessageHub.get_instance(f'{request.node.name}-{batch}-{iteration}')
    if saved is not None:
        hub.update_info_dict(saved)
    data = list(range(10))
    loader = DataLoader(data, batch_size=batch, sampler=sampler(data))
    runner = Runner(hub, accumulation)
    runner.loop = ResumableTrainLoop(runner, loader, max_epochs=2)
    runner.loop._epoch, runner.loop._iter = epoch, iteration
    runner.optim_wrapper.initialize_count_status(  # as mmengine's runner does
        runner.model, iteration, runner.loop.max_iters
    )
    runner.loop.run()
    return runner


def sampler(data):
    return EpochSampler(data, seed=1)


@pytest.mark.parametrize('iteration', [1, 4, 5, 6, 9])
def test_continues_with_the_next_batch(request, iteration):
    whole = start(request, sampler=sampler)
    epoch = iteration // 5
    resumed = start(request, epoch=epoch, iteration=iteration, sampler=sampler)
    assert resumed.seen == whole.seen[iteration:]
    numbers = [i for name, i in resumed.calls if name == 'before_train_iter']
    assert numbers == (2 * list(range(5)))[iteration:]
    assert resumed.loop.iter == 10 and resumed.loop.epoch == 2
    assert resumed.loop.iterations_run == 10 - iteration


def test_checkpoint_of_the_last_iteration_still_ends_its_epoch(request):
    resumed = start(request, epoch=0, iteration=5, sampler=sampler)
    names = [name for name, _ in resumed.calls]
    assert names.count('after_train_epoch') == 2 and len(resumed.seen) == 5


def test_goes_on_at_the_same_fraction_with_another_batch_size(request):
    whole = start(request, batch=1, sampler=sampler)
    saved = dict(max_epochs=2, max_iters=10)  # batches of 2
    resumed = start(request, 1, epoch=1, iteration=7, saved=saved, sampler=sampler)
    assert resumed.seen == whole.seen[10 + 4 :]
    assert resumed.loop.iter == 20
    between = start(request, 1, epoch=1, iteration=5, saved=saved, sampler=sampler)
    assert between.seen == whole.seen[10:]


@pytest.mark.parametrize('iteration', [1, 3, 5, 7, 9])
def test_updates_fall_where_the_hook_expects_them_after_a_change(request, iteration):
    """An update is iterations with one number divided by the counts."""
    saved = dict(max_epochs=2, max_iters=10)  # batches of 2
    runner = start(request, 1, iteration // 5, iteration, saved, accumulation=4)
    first = runner.loop.iter - len(runner.seen)
    assert runner.loop.moved and first == 2 * iteration
    assert runner.updates == [i for i in range(first, 20) if i % 4 == 3]


def test_reads_and_drops_with_a_foreign_sampler(request):
    def foreign(data):
        sampler = RandomSampler(data, generator=torch.Generator().manual_seed(1))
        sampler.set_epoch = lambda epoch: None
        return sampler

    whole = start(request, sampler=foreign)
    resumed = start(request, epoch=0, iteration=3, sampler=foreign)
    assert resumed.seen[:2] == whole.seen[3:5]


def test_refuses_data_that_fill_no_batch():
    loader = DataLoader(list(range(3)), batch_size=4, drop_last=True)
    runner = Runner(None)
    with pytest.raises(ConfigError, match=r'3 images.*one batch of 4.*batch_size'):
        ResumableTrainLoop(runner, loader, max_epochs=2)
