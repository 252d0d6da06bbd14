"""Hard-pair selection: pass on only the hardest pair of feature-map windows.

Convention: a window is the pair (top, left) of its first row and column; it covers
rows ``top`` to ``top + height - 1`` and columns ``left`` to ``left + width - 1``.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from mmengine.registry import MODELS
from torch import Generator, Tensor, nn

from mmaccel.renamed import renamed

from ..utils.transfer import to_device
from .crop_windows import crop_windows

#: Which of the candidate windows go on (paper, Table 5).
PREFERENCES = ('hard', 'easy', 'random')

Size = tuple[int, int]
#: From the pooled candidates of each map to a loss per pair, or per candidate.
Score = Callable[..., Tensor]
#: Brings rows from image order to that of the keys, where the two differ.
Reorder = Callable[[Tensor], Tensor]


class CropResult(NamedTuple):
    """What a layer between stages passes on.

    ``x_q, x_k``: maps or windows (n, C, h, w), None where there was no map;
    ``corners_q, corners_k``: (n, 2) top and left cells of windows, in the order of
    their maps; ``kept``: (n,) the images that go on, in ascending order, None for all.
    """

    x_q: Tensor | None
    x_k: Tensor
    corners_q: Tensor | None = None
    corners_k: Tensor | None = None
    kept: Tensor | None = None


class WindowTrace(NamedTuple):
    """How windows were chosen, all in the order of the images.

    ``map_size, size``: rows and columns of the first map and of its windows;
    ``corners``: one (N, M, 2) of candidates for each of a pair's two maps, or a single
    one; ``losses``: (N, M, M) of pairs or (N, M), None where nothing was scored;
    ``chosen``: one (N,) of indices of candidates for each of ``corners``.
    """

    map_size: Size
    size: Size
    corners: Sequence[Tensor]
    losses: Tensor | None
    chosen: Sequence[Tensor]


def window_size(height: int, width: int, ratio: float) -> Size:
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
    map_size: Size,
    size: Size,
    generator: Generator | None = None,
) -> Tensor:
    """Draw windows uniformly, independently for every map and candidate.

    Args:
        num_maps (int): Maps N.
        num_candidates (int): Windows M a map.
        map_size (Size): Rows and columns of the maps.
        size (Size): Rows and columns of a window.
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


def pool_windows(x: Tensor, corners: Tensor, size: Size) -> Tensor:
    """Mean of each window, without cutting any window out.

    A window's mean is a masked mean of the map, so the M candidates of a map are
    one matrix product over it.

    Args:
        x (Tensor): Maps (N, C, H, W).
        corners (Tensor): (N, M, 2) from :func:`draw_windows`, on x's device.
        size (Size): Rows and columns of a window.

    Returns:
        Tensor: (N, M, C), of x's dtype.
    """
    rows, columns = x.shape[-2:]
    cell = torch.arange(max(rows, columns), device=x.device)
    if size[0] == size[1]:
        inside = _within(cell, corners[..., None], size[0]).unbind(2)  # (N, M, side)
    else:
        inside = tuple(
            _within(cell, corners[..., axis, None], size[axis]) for axis in (0, 1)
        )
    mask = inside[0][..., :rows, None] & inside[1][..., None, :columns]
    mask = mask.flatten(2)  # (N, M, HW)
    cells = x.permute(0, 2, 3, 1).flatten(1, 2)  # (N, HW, C), a view of channels_last
    if not x.is_contiguous(memory_format=torch.channels_last):
        cells = x.flatten(2).transpose(1, 2)  # a view of the usual layout
    area = size[0] * size[1]
    if x.dtype == torch.float16:  # sums of a large window exceed its 65,504
        return torch.bmm(mask.to(x.dtype) / area, cells)
    return torch.bmm(mask.to(x.dtype), cells) / area


def _within(cell: Tensor, first: Tensor, length: int) -> Tensor:
    return (cell >= first) & (cell < first + length)


@MODELS.register_module()
class HardPairCropLayer(nn.Module):
    """Crop two maps to the pair of windows that a score calls hardest.

    Paper, Section 2.3, equation (4): M random windows of each map, the pair out of
    M x M with the largest contrastive loss goes on. The layer draws, pools and crops;
    what a pair's loss is, the ``score`` callable knows.

    Args:
        after_stages (Sequence[int]): Stages, counted from 1, whose maps are cropped.
            Defaults to (1, 2), as in the paper.
        num_candidates (int): Windows M drawn per map, >= 1. With 1 nothing is scored.
            Defaults to 2, as in the paper.
        crop_ratio (float): Window side over map side, in (0, 1]; sides are rounded
            up. Defaults to 0.75, as in the paper.
        prefer (str): ``'hard'`` passes on the largest loss, ``'easy'`` the smallest,
            ``'random'`` any (paper, Table 5). Defaults to ``'hard'``.

    Attributes:
        watcher (Callable, optional): Called with the :class:`WindowTrace` whenever
            windows were chosen; for pictures and measurements. Defaults to None.

    Raises:
        ValueError: If an argument is out of its range.

    Note:
        Scoring runs without gradients. No buffer and, given a generator, no global
        random state changes. It has no parameters and does nothing at inference.
    """

    @renamed(select='prefer')
    def __init__(
        self,
        after_stages: Sequence[int] = (1, 2),
        num_candidates: int = 2,
        crop_ratio: float = 0.75,
        prefer: str = 'hard',
    ) -> None:
        super().__init__()
        window_size(1, 1, crop_ratio)  # rejects a ratio out of range
        if prefer not in PREFERENCES:
            raise ValueError(
                f'prefer={prefer!r} is unknown; use {", ".join(PREFERENCES)}'
            )
        if num_candidates < 1:
            raise ValueError(
                f'num_candidates={num_candidates} leaves no window; use 1 or more '
                '(the paper uses 2)'
            )
        check_stages(after_stages)
        self.after_stages = tuple(after_stages)
        self.num_candidates = num_candidates
        self.crop_ratio = crop_ratio
        self.prefer = prefer
        self.watcher: Callable[[WindowTrace], None] | None = None

    @property
    def scores(self) -> bool:
        """Whether windows are chosen by their losses."""
        return self.prefer != 'random' and self.num_candidates > 1

    def forward(
        self,
        x_q: Tensor,
        x_k: Tensor,
        score: Score,
        generator: Generator | None = None,
        to_key_order: Reorder | None = None,
    ) -> CropResult:
        """Crop both maps of each image to the pair that :meth:`pick` picks.

        Args:
            x_q (Tensor): Query maps (N, C, H, W).
            x_k (Tensor): Key maps (N, C, H, W), in the key encoder's order.
            score, generator, to_key_order: As of :meth:`pick`.
        """
        at_q, at_k = self.pick((x_q, x_k), score, generator, to_key_order)
        return CropResult(self.cut(x_q, at_q), self.cut(x_k, at_k), at_q, at_k)

    def side_by_side(
        self, x: Tensor, score: Score, generator: Generator | None = None
    ) -> Tensor:
        """Crop to hardest pairs where an image's two views lie next to each other.

        Args:
            x (Tensor): Maps (2N, C, H, W); rows 2n and 2n + 1 are views of image n.
            score, generator: As of :meth:`pick`.

        Returns:
            Tensor: Windows (2N, C, h, w) in the same order.
        """
        corners = torch.stack(self.pick((x[0::2], x[1::2]), score, generator), dim=1)
        return self.cut(x, corners.flatten(0, 1))

    def crop_each(
        self, x: Tensor, score: Score, generator: Generator | None = None
    ) -> Tensor:
        """Crop every map to its own hardest window, where the loss separates.

        SwAV's loss is a sum of one term per view: the largest pair is the pair of the
        largest.

        Args:
            x (Tensor): Maps (N, C, H, W).
            score, generator: As of :meth:`pick`.

        Returns:
            Tensor: Windows (N, C, h, w).
        """
        return self.cut(x, *self.pick((x,), score, generator))

    @torch.no_grad()
    def pick(
        self,
        maps: tuple[Tensor, ...],
        score: Score,
        generator: Generator | None = None,
        to_key_order: Reorder | None = None,
    ) -> list[Tensor]:
        """Draw M candidates per map and pick a pair of them, or one of a single map.

        Args:
            maps (tuple[Tensor]): Two of (N, C, H, W), or one.
            score (Callable): From the pooled windows (N, M, C) of each of the maps to
                losses in image order: (N, M, M) of pairs, entry (n, p, q) of window p
                of the first map and q of the second; (N, M) for a single map.
            generator (torch.Generator, optional): On the CPU. Windows of the first
                map are drawn first. Defaults to torch's global generator.
            to_key_order (Callable, optional): Brings rows from image order to that of
                the second map, where the two differ (shuffle-BN). Defaults to none.

        Returns:
            list[Tensor]: (N, 2) top and left cells per map, in the map's order.
        """
        sizes = [self._size(x) for x in maps]
        drawn = [self._draw(x, generator) for x in maps]  # (N, M, 2), by image
        corners = list(drawn)
        if to_key_order is not None:
            corners[1] = to_key_order(drawn[1])
        losses = None
        picked = [drawn[0].new_zeros(len(maps[0]))] * len(maps)
        whole = [(x.shape[-2], x.shape[-1]) for x in maps]
        if self.scores and sizes != whole:
            pooled = [
                pool_windows(x, at, size) for x, at, size in zip(maps, corners, sizes)
            ]
            losses = score(*pooled)
            flat = losses.flatten(1)
            index = flat.argmax(1) if self.prefer == 'hard' else flat.argmin(1)
            picked = [index % self.num_candidates]
            if len(maps) == 2:  # the first of equal pairs, p before q
                p = torch.div(index, self.num_candidates, rounding_mode='floor')
                picked = [p, *picked]
        if self.watcher is not None:
            self.watcher(WindowTrace(whole[0], sizes[0], drawn, losses, picked))
        if to_key_order is not None and losses is not None:
            picked = [picked[0], to_key_order(picked[1])]
        rows = [index[:, None, None].expand(-1, 1, 2) for index in picked]
        return [at.gather(1, row).squeeze(1) for at, row in zip(corners, rows)]

    def random(
        self,
        x: Tensor,
        generator: Generator | None = None,
        to_key_order: Reorder | None = None,
        num_images: int | None = None,
    ) -> CropResult:
        """Crop one random window per map, where there is no partner to score against.

        Args:
            x (Tensor): Maps (N, C, H, W).
            generator (torch.Generator, optional): As of :meth:`pick`.
            to_key_order (Callable, optional): Not needed here.
            num_images (int, optional): Not needed here.
        """
        corners = self._draw(x, generator)[:, 0]
        return CropResult(None, self.cut(x, corners), corners_k=corners)

    def cut(self, x: Tensor, corners: Tensor) -> Tensor:
        """Cut one window (N, C, h, w) out of each map, given (N, 2) top left cells."""
        return crop_windows(x, corners, self._size(x))

    def _size(self, x: Tensor) -> Size:
        return window_size(x.shape[-2], x.shape[-1], self.crop_ratio)

    def _draw(self, x: Tensor, generator: Generator | None) -> Tensor:
        map_size = (x.shape[-2], x.shape[-1])
        corners = draw_windows(
            len(x), self.num_candidates, map_size, self._size(x), generator
        )
        return to_device(corners, x.device)

    def extra_repr(self) -> str:
        """Return the arguments, for ``print(model)``."""
        return (
            f'after_stages={self.after_stages}, num_candidates={self.num_candidates}, '
            f'crop_ratio={self.crop_ratio}, prefer={self.prefer!r}'
        )


def check_stages(after_stages: Sequence[int]) -> None:
    """Reject stages that are not counted from 1, or named twice.

    Raises:
        ValueError: Naming them.
    """
    if len(set(after_stages)) < len(after_stages):
        raise ValueError(
            f'after_stages={tuple(after_stages)} names a stage twice; windows are cut '
            'once after a stage'
        )
    if any(stage < 1 for stage in after_stages):
        raise ValueError(
            f'after_stages={tuple(after_stages)} counts stages from 1; '
            'use for example after_stages=(1, 2)'
        )
