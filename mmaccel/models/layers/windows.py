"""Windows of feature maps: drawn, pooled and cropped by pure functions.

Convention: a window is the pair (top, left) of its first row and column; it covers
rows ``top`` to ``top + height - 1`` and columns ``left`` to ``left + width - 1``.
"""

from __future__ import annotations

import math
from typing import Sequence

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def window_size(height: int, width: int, ratio: float) -> tuple[int, int]:
    """Sides of a window: ``ceil(ratio * side)`` (paper, Section 4: three quarters).

    Args:
        height (int): Rows of the map.
        width (int): Columns of the map.
        ratio (float): In (0, 1].

    Raises:
        ValueError: If the ratio is out of range or the map has no cells.
    """
    if not 0 < ratio <= 1:
        raise ValueError(
            f'crop_ratio={ratio} is outside (0, 1]; the paper uses crop_ratio=0.75'
        )
    if height < 1 or width < 1:
        raise ValueError(
            f'a window of a {height}x{width} map would be empty; use larger images or '
            'drop the stage from crop_layer.after_stages'
        )
    # 0.7 * 10 is 7.000000000000001: rounding first keeps ceil from seeing the error
    sides = (math.ceil(round(ratio * side, 6)) for side in (height, width))
    rows, columns = (max(1, side) for side in sides)
    return rows, columns


def draw_windows(
    num_maps: int,
    num_candidates: int,
    map_size: tuple[int, int],
    size: tuple[int, int],
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw windows uniformly, independently for every map and candidate.

    Args:
        num_maps (int): Maps N.
        num_candidates (int): Windows M a map.
        map_size (tuple[int, int]): Rows and columns of the maps.
        size (tuple[int, int]): Rows and columns of a window.
        generator (torch.Generator, optional): On the CPU. Defaults to torch's global
            one.

    Returns:
        Tensor: (N, M, 2) int64 on the CPU, top and left.
    """
    corners = [
        torch.randint(
            side - window + 1, (num_maps, num_candidates), generator=generator
        )
        for side, window in zip(map_size, size)
    ]
    return torch.stack(corners, dim=-1)


def pool_windows(x: Tensor, corners: Tensor, size: tuple[int, int]) -> Tensor:
    """Mean of each window, without cutting any window out.

    A window's mean is a masked mean of the map, so the M candidates of a map are
    one matrix product over it.

    Args:
        x (Tensor): Maps (N, C, H, W).
        corners (Tensor): (N, M, 2) from :func:`draw_windows`, on x's device.
        size (tuple[int, int]): Rows and columns of a window.

    Returns:
        Tensor: (N, M, C), of x's dtype.
    """
    inside = []
    for axis, (side, window) in enumerate(zip(x.shape[-2:], size)):
        first = corners[..., axis, None]  # (N, M, 1)
        cell = torch.arange(side, device=x.device)
        inside.append((cell >= first) & (cell < first + window))
    mask = (inside[0][..., :, None] & inside[1][..., None, :]).flatten(2)  # (N, M, HW)
    cells = x.permute(0, 2, 3, 1).flatten(1, 2)  # (N, HW, C), a view of channels_last
    if not x.is_contiguous(memory_format=torch.channels_last):
        cells = x.flatten(2).transpose(1, 2)  # a view of the usual layout
    area = size[0] * size[1]
    if x.dtype == torch.float16:  # sums of a large window exceed its 65,504
        return torch.bmm(mask.to(x.dtype) / area, cells)
    return torch.bmm(mask.to(x.dtype), cells) / area


def crop_windows(x: Tensor, corners: Tensor, size: tuple[int, int]) -> Tensor:
    """Cut one window out of every map.

    Args:
        x (Tensor): Maps (N, C, H, W).
        corners (Tensor): (N, 2), top and left, on x's device.
        size (tuple[int, int]): Rows h and columns w of the windows.

    Returns:
        Tensor: (N, C, h, w). The gradient is that of slicing: the window's gradient
        inside, zero outside.
    """
    return _CropWindows.apply(x, corners, size)


class _CropWindows(torch.autograd.Function):
    """Slicing each map at its own place, as one node with one memory pass each way.

    Autograd through N slices would write N full-size gradients and add them.
    """

    @staticmethod
    def forward(ctx, x: Tensor, corners: Tensor, size: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(corners)
        ctx.shape, ctx.size = x.shape, size
        if x.device.type == 'cpu':
            out = _empty_like(x, (*x.shape[:2], *size))
            for target, source, place in zip(out, x, _slices(corners, size)):
                target.copy_(source[place])
            return out
        return x[_indices(corners, size)].permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        (corners,) = ctx.saved_tensors
        out = _empty_like(grad, ctx.shape).zero_()
        if grad.device.type == 'cpu':
            for target, source, place in zip(out, grad, _slices(corners, ctx.size)):
                target[place] = source
        else:
            out[_indices(corners, ctx.size)] = grad.permute(0, 2, 3, 1)
        return out, None, None


def _empty_like(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Memory of another shape in x's layout."""
    cells_first = x.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if cells_first else torch.contiguous_format
    return torch.empty(
        tuple(shape), dtype=x.dtype, device=x.device, memory_format=layout
    )


def _slices(corners: Tensor, size: tuple[int, int]):
    height, width = size
    for top, left in corners.tolist():
        yield slice(None), slice(top, top + height), slice(left, left + width)


def _indices(corners: Tensor, size: tuple[int, int]):
    device = corners.device
    rows = corners[:, :1] + torch.arange(size[0], device=device)  # (N, h)
    columns = corners[:, 1:] + torch.arange(size[1], device=device)  # (N, w)
    image = torch.arange(len(corners), device=device)
    return image[:, None, None], slice(None), rows[:, :, None], columns[:, None, :]
