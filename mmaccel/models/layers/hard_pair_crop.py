"""Hard-pair selection: pass on only the hardest pair of feature-map windows."""

from __future__ import annotations

from typing import Callable, NamedTuple, Sequence

import torch
from mmselfsup.registry import MODELS
from torch import Tensor, nn

from mmaccel.renamed import renamed

from .windows import crop_windows, draw_windows, pool_windows, window_size

#: Which of the candidate windows go on (paper, Table 5).
PREFERENCES = ('hard', 'easy', 'random')

Size = tuple[int, int]


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

    ``map_size, size``: rows and columns of the maps and of a window; ``corners``: one
    (N, M, 2) of candidates for each of a pair's two maps, or a single one; ``losses``:
    (N, M, M) of pairs or (N, M), None where nothing was scored; ``chosen``: one (N,) of
    indices of candidates for each of ``corners``.
    """

    map_size: Size
    size: Size
    corners: tuple[Tensor, ...]
    losses: Tensor | None
    chosen: tuple[Tensor, ...]


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
        score: Callable[[Tensor, Tensor], Tensor],
        generator: torch.Generator | None = None,
        to_key_order: Callable[[Tensor], Tensor] | None = None,
    ) -> CropResult:
        """Crop both maps of each image to the pair that :meth:`pick_pair` picks.

        Takes the arguments of :meth:`pick_pair`.
        """
        at_q, at_k = self.pick_pair(x_q, x_k, score, generator, to_key_order)
        return CropResult(self.cut(x_q, at_q), self.cut(x_k, at_k), at_q, at_k)

    def side_by_side(
        self,
        x: Tensor,
        score: Callable[[Tensor, Tensor], Tensor],
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Crop to hardest pairs where an image's two views lie next to each other.

        Args:
            x (Tensor): Maps (2N, C, H, W); rows 2n and 2n + 1 are views of image n.
            score (Callable): As of :meth:`pick_pair`.
            generator (torch.Generator, optional): As of :meth:`pick_pair`.

        Returns:
            Tensor: Windows (2N, C, h, w) in the same order.
        """
        corners = torch.stack(self.pick_pair(x[0::2], x[1::2], score, generator), 1)
        return self.cut(x, corners.flatten(0, 1))

    @torch.no_grad()
    def pick_pair(
        self,
        x_q: Tensor,
        x_k: Tensor,
        score: Callable[[Tensor, Tensor], Tensor],
        generator: torch.Generator | None = None,
        to_key_order: Callable[[Tensor], Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Draw candidates and pick a pair, without cropping.

        Args:
            x_q (Tensor): Query maps (N, C, H, W).
            x_k (Tensor): Key maps (N, C, H, W), in the key encoder's order.
            score (Callable): From pooled windows (N, M, C) of ``x_q`` and ``x_k`` to
                pair losses (N, M, M) in image order; entry (n, p, q) belongs to
                query window p and key window q of image n.
            generator (torch.Generator, optional): On the CPU. Query windows are
                drawn first. Defaults to torch's global generator.
            to_key_order (Callable, optional): Brings rows from image order to that
                of ``x_k``, where the two differ (shuffle-BN). Defaults to none.

        Returns:
            tuple[Tensor, Tensor]: (N, 2) top and left cells of the picked windows,
            each in the order of its maps.
        """
        size = self._size(x_q)
        corners_q = self._draw(x_q, size, generator)
        corners_k = in_image_order = self._draw(x_k, size, generator)
        if to_key_order is not None:
            corners_k = to_key_order(corners_k)
        if not self._has_choice(x_q, size):
            first = corners_q.new_zeros(len(x_q))
            self._tell(x_q, size, (corners_q, in_image_order), None, (first, first))
            return corners_q[:, 0], corners_k[:, 0]
        pair_loss = score(
            pool_windows(x_q, corners_q, size), pool_windows(x_k, corners_k, size)
        )
        index = self._extreme(pair_loss.flatten(1))
        p = torch.div(index, self.num_candidates, rounding_mode='floor')
        q = index % self.num_candidates
        self._tell(x_q, size, (corners_q, in_image_order), pair_loss, (p, q))
        if to_key_order is not None:
            q = to_key_order(q)
        return _take(corners_q, p), _take(corners_k, q)

    def crop_each(
        self,
        x: Tensor,
        score: Callable[[Tensor], Tensor],
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Crop every map to its own hardest window, where the loss separates.

        SwAV's loss is a sum of one term per view: the largest pair is the pair of the
        largest.

        Args:
            x (Tensor): Maps (N, C, H, W).
            score (Callable): As of :meth:`pick_each`.
            generator (torch.Generator, optional): As of :meth:`pick_pair`.

        Returns:
            Tensor: Windows (N, C, h, w).
        """
        return self.cut(x, self.pick_each(x, score, generator))

    @torch.no_grad()
    def pick_each(
        self,
        x: Tensor,
        score: Callable[[Tensor], Tensor],
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw candidates and pick one window of each map, without cropping.

        Args:
            x (Tensor): Maps (N, C, H, W).
            score (Callable): From pooled windows (N, M, C) to losses (N, M).
            generator (torch.Generator, optional): As of :meth:`pick_pair`.

        Returns:
            Tensor: (N, 2) top and left cells.
        """
        size = self._size(x)
        corners = self._draw(x, size, generator)
        losses = None
        index = corners.new_zeros(len(x))
        if self._has_choice(x, size):
            losses = score(pool_windows(x, corners, size))
            index = self._extreme(losses)
        self._tell(x, size, (corners,), losses, (index,))
        return _take(corners, index)

    def random(
        self,
        x: Tensor,
        generator: torch.Generator | None = None,
        to_key_order: Callable[[Tensor], Tensor] | None = None,
        num_images: int | None = None,
    ) -> CropResult:
        """Crop one random window per map, where there is no partner to score against.

        Args:
            x (Tensor): Maps (N, C, H, W).
            generator (torch.Generator, optional): As of :meth:`pick_pair`.
            to_key_order (Callable, optional): Not needed here.
            num_images (int, optional): Not needed here.
        """
        corners = self._draw(x, self._size(x), generator)[:, 0]
        return CropResult(None, self.cut(x, corners), corners_k=corners)

    def cut(self, x: Tensor, corners: Tensor) -> Tensor:
        """Cut one window (N, C, h, w) out of each map, given (N, 2) top left cells."""
        return crop_windows(x, corners, self._size(x))

    def _tell(
        self,
        x: Tensor,
        size: Size,
        corners: tuple[Tensor, ...],
        losses: Tensor | None,
        chosen: tuple[Tensor, ...],
    ) -> None:
        if self.watcher is not None:
            map_size = (x.shape[-2], x.shape[-1])
            self.watcher(WindowTrace(map_size, size, corners, losses, chosen))

    def _size(self, x: Tensor) -> Size:
        return window_size(x.shape[-2], x.shape[-1], self.crop_ratio)

    def _has_choice(self, x: Tensor, size: Size) -> bool:
        return self.scores and size != tuple(x.shape[-2:])

    def _extreme(self, losses: Tensor) -> Tensor:
        return losses.argmax(1) if self.prefer == 'hard' else losses.argmin(1)

    def _draw(self, x: Tensor, size: Size, generator: torch.Generator | None) -> Tensor:
        map_size = (x.shape[-2], x.shape[-1])
        corners = draw_windows(len(x), self.num_candidates, map_size, size, generator)
        return corners.to(x.device, non_blocking=True)

    def extra_repr(self) -> str:
        """Return the arguments, for ``print(model)``."""
        return (
            f'after_stages={self.after_stages}, num_candidates={self.num_candidates}, '
            f'crop_ratio={self.crop_ratio}, prefer={self.prefer!r}'
        )


def _take(corners: Tensor, index: Tensor) -> Tensor:
    """(N, M, 2) and (N,) to (N, 2)."""
    return corners[torch.arange(len(index), device=index.device), index]


def check_stages(after_stages: Sequence[int]) -> None:
    """Reject stages that are not counted from 1.

    Raises:
        ValueError: Naming them.
    """
    if any(stage < 1 for stage in after_stages):
        raise ValueError(
            f'after_stages={tuple(after_stages)} counts stages from 1; '
            'use for example after_stages=(1, 2)'
        )
