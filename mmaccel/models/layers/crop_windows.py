"""Cutting one window out of each feature map, with the gradient of slicing."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


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
    def forward(ctx: Any, x: Tensor, corners: Tensor, size: tuple[int, int]) -> Tensor:
        ctx.shape, ctx.size = x.shape, size
        if x.device.type == 'cpu':
            ctx.save_for_backward(corners)
            out = _empty_like(x, (*x.shape[:2], *size))
            for target, source, place in zip(out, x, _slices(corners, size)):
                target.copy_(source[place])
            return out
        indices = _indices(corners, size)
        ctx.save_for_backward(*(i for i in indices if isinstance(i, Tensor)))
        return x[indices].permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        out = _empty_like(grad, ctx.shape).zero_()
        if grad.device.type == 'cpu':
            (corners,) = ctx.saved_tensors
            for target, source, place in zip(out, grad, _slices(corners, ctx.size)):
                target[place] = source
        else:
            image, rows, columns = ctx.saved_tensors
            out[image, :, rows, columns] = grad.permute(0, 2, 3, 1)
        return out, None, None


def _empty_like(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Memory of another shape in x's layout."""
    cells_first = x.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if cells_first else torch.contiguous_format
    return torch.empty(
        tuple(shape), dtype=x.dtype, device=x.device, memory_format=layout
    )


def _slices(corners: Tensor, size: tuple[int, int]) -> Iterator[tuple[slice, ...]]:
    height, width = size
    for top, left in corners.tolist():
        yield slice(None), slice(top, top + height), slice(left, left + width)


def _indices(corners: Tensor, size: tuple[int, int]) -> tuple[Tensor | slice, ...]:
    number = torch.arange(max(*size, len(corners)), device=corners.device)
    cells = corners[:, :, None] + number[: max(size)]  # (N, 2, the longer side)
    rows, columns = cells[:, 0, : size[0]], cells[:, 1, : size[1]]
    image = number[: len(corners)]
    return image[:, None, None], slice(None), rows[:, :, None], columns[:, None, :]
