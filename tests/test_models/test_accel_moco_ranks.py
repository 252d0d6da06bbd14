"""Two gloo processes: same exits, same parameters, same windows, few bytes."""

from unittest import mock

import pytest
import torch
from mmengine.model import MMDistributedDataParallel
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmaccel.models.plan import StepPlan
from mmaccel.models.utils.batch_shuffle import BatchShuffle
from tests.builders import CROP, build, moco_config, views
from tests.distributed import run_ranks


class Batches(torch.utils.data.Dataset):
    """Eight ready-made batches of different images on every rank."""

    def __init__(self, rank):
        self.rank = rank

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return dict(inputs=views(seed=100 * self.rank + index), data_samples=[])


def train(rank, tmp_path):
    """Train with the hook under DDP; the user gave every rank another seed."""
    torch.manual_seed(rank)  # DDP broadcasts rank 0's weights
    model = MMDistributedDataParallel(
        build(moco_config(crop_layer=CROP)), find_unused_parameters=True
    )
    runner = Runner(
        model=model,
        work_dir=str(tmp_path),
        train_dataloader=DataLoader(
            Batches(rank), batch_size=None, sampler=torch.arange(8).tolist()
        ),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(
            optimizer=dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=1e-2)
        ),
        custom_hooks=[dict(type='mmselfsup.PartialBackpropHook')],
        default_hooks=dict(sampler_seed=None, checkpoint=None, logger=None),
        randomness=dict(seed=7, diff_rank_seed=True),
        launcher='pytorch',
        env_cfg=dict(dist_cfg=dict(backend='gloo')),
        experiment_name=f'ranks{rank}',
    )
    exits = []
    update_scalar = runner.message_hub.update_scalar

    def record(key, value, *args):
        if key == 'train/exit':
            exits.append(value)
        update_scalar(key, value, *args)

    with mock.patch.object(runner.message_hub, 'update_scalar', record):
        runner.train()
    model = runner.model.module
    trained = {n: p.detach() for n, p in model.named_parameters()}
    return exits, trained, [queue.features for queue in model.queues]


def windows(rank, shuffled):
    """Corners chosen on this rank, in image order, and what was gathered."""
    torch.manual_seed(0)
    model = build(moco_config(crop_layer=CROP)).eval()  # batches do not mix in BN
    for p in model.encoder_k.parameters():
        p.data.add_(0.05 * torch.randn_like(p))
    model.encoder_k.steps += 1
    model.plan = StepPlan(exit_stage=4, window_seed=(1, 2, rank))
    chosen, orders, gathered = [], [], []
    model.crop_layer.register_forward_hook(
        lambda _, args, out: chosen.append((out.corners_q, out.corners_k))
    )
    draw, all_gather = BatchShuffle.draw, torch.distributed.all_gather

    def drawn(images):
        if not shuffled:
            nothing = torch.arange(2 * len(images))
            order = BatchShuffle.from_permutation(nothing, len(images))
        else:
            images, order = draw(images)
        orders.append(order)
        return images, order

    def counted(outputs, tensor, *args, **kwargs):
        gathered.append((tuple(tensor.shape), tensor.numel() * tensor.element_size()))
        return all_gather(outputs, tensor, *args, **kwargs)

    torch.manual_seed(10 + rank)
    drawing = mock.patch.object(BatchShuffle, 'draw', drawn)
    with drawing, mock.patch.object(torch.distributed, 'all_gather', counted):
        model.loss(views(seed=rank), [])
    in_image_order = [(q, orders[0].to_images(k)) for q, k in chosen]
    return in_image_order, gathered, orders[0]._slot_of_image


def everything(rank, tmp_path):
    return (
        windows(rank, shuffled=True),
        windows(rank, shuffled=False),
        train(rank, tmp_path),
    )


@pytest.fixture(scope='module')
def results(tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp('ranks')
    return run_ranks(everything, 2, tmp_path, tmp_path)


def test_exits_and_parameters_are_equal_on_both_ranks(results):
    (exits, weights, queues), (other_exits, other_weights, other_queues) = (
        train for _, _, train in results
    )
    assert exits == other_exits
    assert len(exits) == 8
    assert len(set(exits)) > 1
    for name, weight in weights.items():
        assert torch.equal(weight, other_weights[name]), name
    for queue, other in zip(queues, other_queues):
        assert torch.equal(queue, other)


def test_exits_are_those_one_process_draws(results):
    from mmaccel.engine.hooks.partial_backprop_hook import PartialBackpropHook

    model = build(moco_config())
    drawn = [PartialBackpropHook().draw(model, 7, update) for update in range(8)]
    assert results[0][2][0] == [plan.exit_stage for plan in drawn]


def test_shuffled_keys_choose_the_windows_that_unshuffled_ones_choose(results):
    for shuffled, plain, _ in results:
        assert not torch.equal(shuffled[2], plain[2])  # something was shuffled
        assert len(shuffled[0]) == 2  # after stages 1 and 2
        for (q, k), (plain_q, plain_k) in zip(shuffled[0], plain[0]):
            assert torch.equal(q, plain_q)
            assert torch.equal(k, plain_k)


def test_no_feature_map_crosses_ranks(results):
    gathered = results[0][0][1]
    n, m, dim = 4, 2, 16
    images = n * 3 * 64 * 64 * 4
    a_crop = n * m * 2 * 8 + n * m * dim * 4 + n * 8  # corners, vectors, choice
    keys = 4 * n * dim * 4  # of all four stages at once
    assert [s for s, _ in gathered if len(s) == 4] == [(n, 3, 64, 64)]
    assert [s for s, _ in gathered if len(s) == 3][-1] == (n, 4, dim)
    assert sum(size for _, size in gathered) == images + 2 * a_crop + keys
