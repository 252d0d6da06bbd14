"""Windows against plain loops and autograd's own slicing."""

import pytest
import torch

from mmaccel.models.layers.crop_windows import _indices, crop_windows
from mmaccel.models.layers.hard_pair_crop import draw_windows, pool_windows, window_size

MAPS = [((8, 8), 0.75), ((7, 5), 0.75), ((3, 9), 0.5), ((4, 4), 1.0), ((1, 1), 0.75)]


@pytest.mark.parametrize(
    ('side', 'ratio', 'expected'),
    [
        (56, 0.75, 42),
        (28, 0.75, 21),
        (7, 0.75, 6),
        (10, 0.7, 7),
        (1, 0.1, 1),
        (5, 1, 5),
        (4, 1e-7, 1),
    ],
)
def test_window_side_is_the_rounded_up_share(side, ratio, expected):
    assert window_size(side, 2 * side, ratio)[0] == expected


@pytest.mark.parametrize('ratio', [0, -0.5, 1.01, float('nan')])
def test_ratio_out_of_range_names_the_range(ratio):
    with pytest.raises(ValueError, match=r'outside \(0, 1\].*crop_ratio=0.75'):
        window_size(8, 8, ratio)


def test_window_of_an_empty_map_is_refused():
    with pytest.raises(ValueError, match='would be empty; use larger images'):
        window_size(0, 4, 0.75)


@pytest.mark.parametrize(('map_size', 'ratio'), MAPS)
def test_drawn_windows_lie_in_the_map_and_reach_every_place(map_size, ratio):
    size = window_size(*map_size, ratio)
    corners = draw_windows(400, 3, map_size, size)
    assert corners.shape == (400, 3, 2)
    for axis in range(2):
        places = set(corners[..., axis].flatten().tolist())
        assert places == set(range(map_size[axis] - size[axis] + 1))


@pytest.mark.parametrize(('map_size', 'ratio'), MAPS)
@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
def test_pooled_windows_are_the_means_of_the_cut_windows(map_size, ratio, layout):
    x = torch.randn(4, 3, *map_size, dtype=torch.float64).to(memory_format=layout)
    (h, w) = size = window_size(*map_size, ratio)
    corners = draw_windows(4, 3, map_size, size)
    pooled = pool_windows(x, corners, size)
    for n in range(4):
        for m, (top, left) in enumerate(corners[n].tolist()):
            plain = x[n, :, top : top + h, left : left + w].mean(dim=(1, 2))
            torch.testing.assert_close(pooled[n, m], plain)


def test_means_of_large_windows_fit_half_precision():
    x = torch.full((1, 2, 84, 84), 12.0, dtype=torch.float16)
    pooled = pool_windows(x, torch.zeros(1, 1, 2, dtype=torch.int64), (84, 84))
    torch.testing.assert_close(pooled, torch.full_like(pooled, 12.0))


@pytest.mark.parametrize(('map_size', 'ratio'), MAPS)
@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
def test_crop_and_its_gradient_equal_slicing(map_size, ratio, layout):
    x = torch.randn(4, 3, *map_size).to(memory_format=layout).requires_grad_()
    (h, w) = size = window_size(*map_size, ratio)
    corners = draw_windows(4, 1, map_size, size)[:, 0]
    weights = torch.randn(4, 3, h, w)

    ours = crop_windows(x, corners, size)
    (gradient,) = torch.autograd.grad((ours * weights).sum(), x)
    plain = torch.stack(
        [x[n, :, t : t + h, v : v + w] for n, (t, v) in enumerate(corners.tolist())]
    )
    (expected,) = torch.autograd.grad((plain * weights).sum(), x)
    assert torch.equal(ours, plain)
    assert torch.equal(gradient, expected)


def test_indexed_path_equals_the_sliced_path():
    x = torch.randn(5, 3, 7, 6)
    corners = draw_windows(5, 1, (7, 6), (4, 3))[:, 0]
    index = _indices(corners, (4, 3))
    sliced = crop_windows(x, corners, (4, 3))
    assert torch.equal(x[index].permute(0, 3, 1, 2), sliced)
    scattered = torch.zeros_like(x)
    scattered[index] = sliced.permute(0, 2, 3, 1)
    mask = torch.zeros_like(x, dtype=torch.bool)
    for n, (top, left) in enumerate(corners.tolist()):
        mask[n, :, top : top + 4, left : left + 3] = True
    assert torch.equal(scattered, x * mask)
