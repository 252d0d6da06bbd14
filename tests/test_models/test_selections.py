"""Easy and random windows, and hard examples, against plain references."""

import math

import pytest
import torch

from mmaccel.models.layers import HardExampleLayer, HardPairCropLayer
from mmaccel.models.plan import StepPlan
from mmaccel.models.utils.batch_shuffle import BatchShuffle
from tests.builders import CROP, build, moco_config, simclr_config, views
from tests.distributed import run_ranks
from tests.steps import sgd, step

HARD_EXAMPLES = dict(type='HardExampleLayer')


def squared_distance(pooled_q, pooled_k):
    return (pooled_q[:, :, None] - pooled_k[:, None]).square().sum(-1)


def test_easy_is_the_smallest_loss_and_hard_the_largest():
    x_q, x_k = torch.randn(2, 6, 3, 8, 8)
    cut = {}
    for prefer in ('easy', 'hard'):
        layer = HardPairCropLayer(num_candidates=3, prefer=prefer)
        pair = layer(x_q, x_k, squared_distance, torch.Generator().manual_seed(0))
        cut[prefer] = (pair.x_q.mean((2, 3)) - pair.x_k.mean((2, 3))).square().sum(1)
    assert (cut['easy'] < cut['hard']).all()
    # negating the loss exchanges the two
    layer = HardPairCropLayer(num_candidates=3, prefer='hard')
    generator = torch.Generator().manual_seed(0)
    pair = layer(x_q, x_k, lambda q, k: -squared_distance(q, k), generator)
    negated = (pair.x_q.mean((2, 3)) - pair.x_k.mean((2, 3))).square().sum(1)
    torch.testing.assert_close(negated, cut['easy'])


def test_random_windows_are_not_scored():
    def never(q, k):
        raise AssertionError('random windows need no score')

    x = torch.randn(6, 3, 8, 8)
    pair = HardPairCropLayer(num_candidates=3, prefer='random')(x, x, never)
    assert pair.x_q.shape == (6, 3, 6, 6)


def test_unknown_selection_is_refused():
    with pytest.raises(ValueError, match='prefer'):
        HardPairCropLayer(prefer='best')
    with pytest.raises(ValueError, match='keep=0.5625'):
        HardExampleLayer(keep=0)


def test_hardest_examples_are_kept_whole_and_in_order():
    x_q, x_k = torch.randn(2, 8, 3, 6, 6)
    out = HardExampleLayer(keep=0.5)(x_q, x_k, squared_distance)
    losses = (x_q.mean((2, 3)) - x_k.mean((2, 3))).square().sum(1)
    kept = sorted(range(8), key=lambda n: -float(losses[n]))[:4]
    assert out.kept.tolist() == sorted(kept)
    assert torch.equal(out.x_q, x_q[sorted(kept)])
    assert torch.equal(out.x_k, x_k[sorted(kept)])


def test_subset_of_a_shuffle_follows_images_and_keys():
    order = torch.randperm(8)  # key row r shows image order[r]
    shuffle = BatchShuffle.from_permutation(torch.argsort(order), 8)
    images = torch.arange(8) * 10
    keys = shuffle.to_keys(images)
    assert torch.equal(keys, images[order])
    kept = torch.tensor([0, 3, 4, 7])
    part = shuffle.subset(kept)
    kept_keys = torch.tensor([k for k in keys.tolist() if k // 10 in kept.tolist()])
    assert torch.equal(part.to_keys(images[kept]), kept_keys)
    assert torch.equal(part.to_images(kept_keys), images[kept])
    again = part.subset(torch.tensor([1, 3]))
    assert torch.equal(
        again.to_images(again.to_keys(torch.tensor([5, 6]))), torch.tensor([5, 6])
    )


@pytest.mark.parametrize('key_forward', ['full', 'truncated'])
@pytest.mark.parametrize('exit_stage', [1, 2, 3, 4])
def test_moco_trains_on_the_hard_examples(exit_stage, key_forward):
    model = build(moco_config(crop_layer=HARD_EXAMPLES, key_forward=key_forward))
    model.plan = StepPlan(exit_stage=exit_stage, window_seed=(1,))
    batches = []
    model.backbone.layer3.register_forward_hook(lambda *a: batches.append(len(a[2])))
    loss = step(model, sgd(model), views(batch=16), seed=0)
    assert math.isfinite(loss)
    # 16 images, 9 after the first drop, 5 after the second
    assert batches == ([5] if exit_stage >= 3 else [])
    moved = [int(queue.pointer) for queue in model.queues]
    expected = {1: 16, 2: 9, 3: 5, 4: 5}
    if key_forward == 'truncated':
        expected = {exit_stage: expected[exit_stage]}
    assert moved == [expected.get(stage, 0) % 32 for stage in (1, 2, 3, 4)]


def test_simclr_keeps_both_views_of_a_hard_example():
    model = build(simclr_config(crop_layer=dict(HARD_EXAMPLES, after_stages=(1,))))
    model.plan = StepPlan(exit_stage=2)
    maps = []
    model.backbone.layer1.register_forward_hook(lambda *a: maps.append(a[2]))
    model.backbone.layer2.register_forward_hook(lambda *a: maps.append(a[1][0]))
    model.loss(views(batch=8), [])
    before, after = (m.detach().flatten(1) for m in maps)
    rows = [int((before == row).all(1).nonzero()) for row in after]
    assert len(rows) == 8  # round(0.5625 * 8) = 4 images
    assert all(b == a + 1 and a % 2 == 0 for a, b in zip(rows[0::2], rows[1::2]))


def keys_of_kept_images(rank):
    """Each rank keeps half of its images; what do its kept images get back?"""
    images = torch.arange(4) + 10 * (rank + 1)
    torch.manual_seed(3)
    keys, shuffle = BatchShuffle.draw(images.float().view(4, 1, 1, 1))
    part = shuffle.subset(torch.tensor([1, 2]) if rank else torch.tensor([0, 3]))
    kept = images[[1, 2]] if rank else images[[0, 3]]
    there = part.to_keys(kept)
    return kept, there, part.to_images(there), keys.flatten()


def test_kept_images_find_their_keys_over_two_ranks(tmp_path):
    results = run_ranks(keys_of_kept_images, 2, tmp_path)
    everywhere = torch.cat([there for _, there, _, _ in results])
    assert sorted(everywhere.tolist()) == [10, 13, 21, 22]
    for kept, there, back, keys in results:
        assert torch.equal(kept, back)
        assert there.tolist() == [k for k in keys.tolist() if k in (10, 13, 21, 22)]


def test_windows_and_hard_examples_cost_about_the_same():
    """0.5625 of the images against windows of three quarters of a side."""
    from mmaccel.analysis import StepRunner, cost_of_step
    from tests.test_analysis.test_cost import config

    costs = []
    for crop_layer in (CROP, HARD_EXAMPLES):
        runner = StepRunner(config(crop_layer=crop_layer), batch_size=16, size=256)
        cost = cost_of_step(runner, StepPlan(4))
        costs.append(cost['forward'] + cost['backward'])
    assert costs[1] == pytest.approx(costs[0], rel=0.05)
