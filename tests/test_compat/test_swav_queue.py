"""The queue is on the model's device, in the checkpoint, and comes back on resume."""

from types import SimpleNamespace

import mmengine.runner
import pytest
import torch
from mmengine.dist import get_world_size
from mmselfsup.engine.hooks import SwAVHook
from mmselfsup.registry import HOOKS

from mmaccel.compat import swav_queue
from tests.processes import fork_ranks
from tests.test_compat.swav import queue_of, swav_runner, upstream_hook


def test_upstream_asks_for_cuda_and_loads_another_runs_queue(tmp_path, monkeypatch):
    def cuda(tensor):
        raise RuntimeError('no GPU')

    monkeypatch.setattr(torch.Tensor, 'cuda', cuda)
    with pytest.raises(RuntimeError, match='no GPU'):
        swav_runner(tmp_path, 1, hook=upstream_hook()).train()

    monkeypatch.setattr(torch.Tensor, 'cuda', lambda tensor: tensor)
    swav_runner(tmp_path, 1, hook=upstream_hook()).train()
    assert 'swav_queue' not in torch.load(tmp_path / 'epoch_1.pth')

    fresh = swav_runner(tmp_path, 1, hook=upstream_hook())
    fresh.call_hook('before_run')
    assert queue_of(fresh).abs().sum() > 0


def test_a_fresh_run_starts_with_an_empty_queue(tmp_path):
    swav_runner(tmp_path, 2).train()
    (saved,) = torch.load(tmp_path / 'epoch_2.pth')['swav_queue']
    assert saved.abs().sum() > 0

    fresh = swav_runner(tmp_path, 2, load_from=str(tmp_path / 'epoch_2.pth'))
    fresh.load_or_resume()
    for moment in ('before_run', 'before_train', 'before_train_epoch'):
        fresh.call_hook(moment)

    assert queue_of(fresh).shape == saved.shape
    assert queue_of(fresh).abs().sum() == 0


def test_iteration_checkpoints_hold_the_queue_of_their_moment(tmp_path):
    seen = []

    class Watch(mmengine.hooks.Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            seen.append(queue_of(runner).clone())

    runner = swav_runner(tmp_path, 2, by_epoch=False)
    runner.register_hook(Watch())
    runner.train()

    assert len(seen) == 4
    for i, queue in enumerate(seen, start=1):
        (saved,) = torch.load(tmp_path / f'iter_{i}.pth')['swav_queue']
        torch.testing.assert_close(saved, queue, atol=0, rtol=0)


def fake_runner(iteration=0, by_epoch=True, exits=1):
    """What the hook needs of a runner."""
    losses = torch.nn.ModuleList(torch.nn.Linear(1, 1) for _ in range(exits))
    for loss in losses:
        loss.queue = None
    model = torch.nn.Module()
    model.head = torch.nn.Module()
    if exits == 1:
        model.head.loss = losses[0]
    else:
        model.head.losses = losses
    checkpoint = mmengine.hooks.CheckpointHook(interval=1, by_epoch=by_epoch)
    warnings = []
    return SimpleNamespace(
        model=model,
        iter=iteration,
        epoch=iteration,
        max_iters=10,
        hooks=[checkpoint],
        logger=SimpleNamespace(warning=warnings.append),
        warnings=warnings,
    )


def new_hook(queue_length=8):
    hook = SwAVHook(2, 0, feat_dim=3, queue_length=queue_length)
    hook.before_run(None)
    return hook


def losses_of(runner):
    head = runner.model.head
    return head.losses if hasattr(head, 'losses') else [head.loss]


def saved_and_restored(rank, by_epoch, exits):
    """Fill this rank's queues, save, and restore in another run; return all three."""
    hook, runner = new_hook(), fake_runner(by_epoch=by_epoch, exits=exits)
    checkpoint = {}
    hook.before_train(runner)
    hook.before_train_epoch(runner)
    generator = torch.Generator().manual_seed(rank)
    own = []
    for loss in losses_of(runner):
        own.append(torch.randn(loss.queue.shape, generator=generator))
        loss.queue.copy_(own[-1])
    if by_epoch:
        hook.after_train_epoch(runner)
    else:
        hook.after_train_iter(runner, 0)
    hook.before_save_checkpoint(runner, checkpoint)

    hook, runner = new_hook(), fake_runner(iteration=1, exits=exits)
    hook.after_load_checkpoint(runner, checkpoint)
    hook.before_train(runner)
    hook.before_train_epoch(runner)
    again = {}
    hook.before_save_checkpoint(runner, again)
    assert torch.equal(again['swav_queue'], checkpoint['swav_queue'])
    restored = torch.stack([loss.queue for loss in losses_of(runner)])
    parts = torch.stack(own), checkpoint['swav_queue'], restored
    return get_world_size(), [part.tolist() for part in parts]


@pytest.mark.parametrize(('by_epoch', 'exits'), [(True, 1), (False, 4)])
def test_each_rank_gets_its_own_queues_back(by_epoch, exits):
    results = fork_ranks(lambda rank: saved_and_restored(rank, by_epoch, exits))
    assert [world_size for world_size, _ in results] == [2, 2]
    ranks = [list(map(torch.tensor, parts)) for _, parts in results]
    everything = torch.cat([own for own, *_ in ranks], dim=2)
    for own, saved, restored in ranks:
        assert own.shape == (exits, 2, 4, 3)
        assert torch.equal(saved, everything)
        assert torch.equal(restored, own)


def test_a_queue_of_another_size_is_refused_with_a_warning():
    hook, runner = new_hook(queue_length=4), fake_runner(iteration=1)
    hook.after_load_checkpoint(runner, {'swav_queue': torch.ones(1, 2, 8, 3)})
    hook.before_train(runner)
    hook.before_train_epoch(runner)

    assert 'same queue_length' in runner.warnings[0]
    assert torch.equal(runner.model.head.loss.queue, torch.zeros(2, 4, 3))


def test_it_answers_to_upstreams_name():
    assert HOOKS.get('SwAVHook') is SwAVHook
    assert not swav_queue.is_needed()
