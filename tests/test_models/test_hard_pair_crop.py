"""The chosen pair against a reference that materialises all pairs."""

import math

import pytest
import torch
from torch import nn

from mmaccel.models.layers import HardPairCropLayer
from mmaccel.models.layers.hard_pair_crop import draw_windows, window_size


def info_nce(q, k, negatives, temperature=0.2):
    """Equation (1) for one pair of unit vectors, written out."""
    positive = math.exp(float(q @ k) / temperature)
    rest = sum(math.exp(float(q @ n) / temperature) for n in negatives)
    return -math.log(positive / (rest + positive))


def plain_choice(x_q, x_k, corners_q, corners_k, size, projectors, negatives):
    """Cut all windows, score all M x M pairs one by one, keep the first maximum."""
    h, w = size

    def vector(x, n, corner, project):
        top, left = corner
        cut = x[n : n + 1, :, top : top + h, left : left + w]
        return nn.functional.normalize(project(cut.mean(dim=(2, 3))), dim=1)[0]

    choice = []
    for n in range(len(x_q)):
        losses = {
            (p, q): info_nce(
                vector(x_q, n, a, projectors[0]),
                vector(x_k, n, b, projectors[1]),
                negatives,
            )
            for p, a in enumerate(corners_q[n].tolist())
            for q, b in enumerate(corners_k[n].tolist())
        }
        best = max(losses.values())
        choice.append(next(pq for pq, loss in losses.items() if loss > best - 1e-12))
    return choice


@pytest.mark.parametrize('num_candidates', [2, 4, 10])
@pytest.mark.parametrize(('map_size', 'ratio'), [((8, 8), 0.75), ((7, 5), 0.6)])
def test_chosen_pair_equals_the_plain_reference(map_size, ratio, num_candidates):
    from mmaccel.models.heads import AccelContrastiveHead

    x_q, x_k = torch.randn(2, 6, 5, *map_size, dtype=torch.float64)
    negatives = nn.functional.normalize(torch.randn(12, 4, dtype=torch.float64), dim=1)
    project = nn.Linear(5, 4).double()
    head = AccelContrastiveHead(dict(type='mmcls.CrossEntropyLoss'), temperature=0.2)
    layer = HardPairCropLayer(num_candidates=num_candidates, crop_ratio=ratio)

    def score(pooled_q, pooled_k):
        q = nn.functional.normalize(project(pooled_q), dim=-1)
        k = nn.functional.normalize(project(pooled_k), dim=-1)
        return head.score(torch.einsum('npd,nqd->npq', q, k), q @ negatives.t())

    pair = layer(x_q, x_k, score, torch.Generator().manual_seed(1))

    size = window_size(*map_size, ratio)
    generator = torch.Generator().manual_seed(1)
    corners_q, corners_k = (
        draw_windows(6, num_candidates, map_size, size, generator) for _ in range(2)
    )
    with torch.no_grad():
        choice = plain_choice(
            x_q, x_k, corners_q, corners_k, size, (project, project), negatives
        )
    h, w = size
    for n, (p, q) in enumerate(choice):
        (tq, lq), (tk, lk) = corners_q[n, p].tolist(), corners_k[n, q].tolist()
        assert torch.equal(pair.x_q[n], x_q[n, :, tq : tq + h, lq : lq + w])
        assert torch.equal(pair.x_k[n], x_k[n, :, tk : tk + h, lk : lk + w])


def test_ties_go_to_the_first_pair():
    x = torch.randn(3, 2, 6, 6)
    layer = HardPairCropLayer(num_candidates=3)
    seed = torch.Generator().manual_seed(0)
    tied = layer(x, x, lambda q, k: torch.ones(3, 3, 3), seed)
    corners = draw_windows(3, 3, (6, 6), (5, 5), torch.Generator().manual_seed(0))
    assert torch.equal(tied.corners_q, corners[:, 0])


def test_whole_maps_and_single_candidates_are_not_scored():
    def never(q, k):
        raise AssertionError('nothing to choose, nothing to score')

    x_q, x_k = torch.randn(2, 3, 2, 6, 6)
    whole = HardPairCropLayer(num_candidates=4, crop_ratio=1.0)(x_q, x_k, never)
    assert torch.equal(whole.x_q, x_q)
    assert torch.equal(whole.x_k, x_k)
    single = HardPairCropLayer(num_candidates=1)(x_q, x_k, never)
    assert single.x_q.shape == (3, 2, 5, 5)


def test_shuffled_keys_choose_as_unshuffled_ones():
    x_q, x_k = torch.randn(2, 6, 3, 8, 8)
    order = torch.tensor([3, 0, 5, 1, 2, 4])  # key row i shows image order[i]
    layer = HardPairCropLayer(num_candidates=4)

    def score(pooled_q, pooled_k):
        return (pooled_q[:, :, None] - pooled_k[:, None]).square().sum(-1)

    plain = layer(x_q, x_k, score, torch.Generator().manual_seed(2))
    shuffled = layer(
        x_q,
        x_k[order],
        lambda q, k: score(q, k[torch.argsort(order)]),
        torch.Generator().manual_seed(2),
        to_key_order=lambda rows: rows[order],
    )
    assert torch.equal(plain.x_q, shuffled.x_q)
    assert torch.equal(plain.x_k[order], shuffled.x_k)


def test_global_random_state_is_untouched():
    before = torch.get_rng_state()
    x = torch.randn(3, 2, 6, 6, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator()
    layer = HardPairCropLayer()
    layer(x, x, lambda q, k: (q[:, :, None] - k[:, None]).sum(-1), generator)
    layer.random(x, generator)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(crop_ratio=1.2), 'crop_ratio=0.75'),
        (dict(num_candidates=0), 'use 1 or more'),
        (dict(after_stages=(0,)), r'after_stages=\(1, 2\)'),
    ],
)
def test_bad_arguments_name_the_remedy(arguments, message):
    with pytest.raises(ValueError, match=message):
        HardPairCropLayer(**arguments)
