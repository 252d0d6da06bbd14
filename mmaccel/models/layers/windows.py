"""Windows of feature maps: drawn and pooled by pure functions.

Convention: a window is the pair (top, left) of its first row and column; it covers
rows ``top`` to ``top + height - 1`` and columns ``left`` to ``left + width - 1``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


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
