"""Hard-pair selection: pass on only the hardest pair of feature-map windows."""

from __future__ import annotations

import copy
from typing import Callable, NamedTuple, Sequence

import torch
from mmselfsup.registry import MODELS
from torch import Tensor, nn

from .windows import crop_windows, draw_windows, pool_windows, window_size

#: Which of the candidate windows go on (paper, Table 5).
SELECTIONS = ('hard', 'easy', 'random')


class Selection(NamedTuple):
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


class Choice(NamedTuple):
    """How windows were chosen, all in the order of the images.

    ``map_size, size``: rows and columns of the maps and of a window; ``corners``: one
    (N, M, 2) of candidates for each of a pair's two maps, or a single one; ``losses``:
    (N, M, M) of pairs or (N, M), None where nothing was scored; ``chosen``: one (N,) of
    indices of candidates for each of ``corners``.
    """

    map_size: tuple[int, int]
    size: tuple[int, int]
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
        num_candidates (int): Windows M drawn a map, >= 1. With 1 nothing is scored.
            Defaults to 2.
        crop_ratio (float): Window side over map side, in (0, 1]; sides are rounded
            up. Defaults to 0.75, as in the paper.
        select (str): ``'hard'`` passes on the largest loss, ``'easy'`` the smallest,
            ``'random'`` any (paper, Table 5). Defaults to ``'hard'``.

    Attributes:
        watcher (Callable, optional): Called with the :class:`Choice` whenever windows
            were chosen; for pictures and measurements. Defaults to None.

    Raises:
        ValueError: If an argument is out of its range.

    Note:
        Scoring runs without gradients. No buffer and, given a generator, no global
        random state changes. It has no parameters and does nothing at inference.
    """

    def __init__(
        self,
        after_stages: Sequence[int] = (1, 2),
        num_candidates: int = 2,
        crop_ratio: float = 0.75,
        select: str = 'hard',
    ) -> None:
        super().__init__()
        _check(select, crop_ratio)
        if num_candidates < 1:
            raise ValueError(
                f'num_candidates={num_candidates} leaves no window; use 1 or more '
                '(the paper uses 2)'
            )
        check_stages(after_stages)
        self.after_stages = tuple(after_stages)
        self.num_candidates = num_candidates
        self.crop_ratio = crop_ratio
        self.select = select
        self.watcher: Callable[[Choice], None] | None = None

    def changed(
        self, select: str | None = None, crop_ratio: float | None = None
    ) -> HardPairCropLayer:
        """Return this layer with other settings; itself stays as it is.

        Args:
            select (str, optional): As of the class. Defaults to this layer's.
            crop_ratio (float, optional): As of the class. Defaults to this layer's.

        Raises:
            ValueError: If an argument is out of its range.
        """
        other = copy.copy(self)
        other.select = self.select if select is None else select
        other.crop_ratio = self.crop_ratio if crop_ratio is None else crop_ratio
        _check(other.select, other.crop_ratio)
        return other

    def forward(
        self,
        x_q: Tensor,
        x_k: Tensor,
        score: Callable[[Tensor, Tensor], Tensor],
        generator: torch.Generator | None = None,
        to_key_order: Callable[[Tensor], Tensor] | None = None,
    ) -> Selection:
        """Choose and crop.

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
            Selection: Windows and their places.
        """
        corners_q, corners_k = self.choose(x_q, x_k, score, generator, to_key_order)
        size = self._size(x_q)
        return Selection(
            crop_windows(x_q, corners_q, size),
            crop_windows(x_k, corners_k, size),
            corners_q,
            corners_k,
        )

    def side_by_side(
        self,
        x: Tensor,
        score: Callable[[Tensor, Tensor], Tensor],
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Choose and crop where an image's two views lie next to each other.

        Args:
            x (Tensor): Maps (2N, C, H, W); rows 2n and 2n + 1 are views of image n.
            score (Callable): As in :meth:`forward`.
            generator (torch.Generator, optional): As in :meth:`forward`.

        Returns:
            Tensor: Windows (2N, C, h, w) in the same order.
        """
        corners = torch.stack(self.choose(x[0::2], x[1::2], score, generator), dim=1)
        return crop_windows(x, corners.flatten(0, 1), self._size(x))

    @torch.no_grad()
    def choose(
        self,
        x_q: Tensor,
        x_k: Tensor,
        score: Callable[[Tensor, Tensor], Tensor],
        generator: torch.Generator | None = None,
        to_key_order: Callable[[Tensor], Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Draw candidates and choose a pair, without cropping.

        Takes the arguments of :meth:`forward`.

        Returns:
            tuple[Tensor, Tensor]: (N, 2) top and left cells of the chosen windows,
            each in the order of its maps.
        """
        size = self._size(x_q)
        corners_q = self._draw(x_q, size, generator)
        corners_k = in_image_order = self._draw(x_k, size, generator)
        if to_key_order is not None:
            corners_k = to_key_order(corners_k)
        if self._nothing_to_choose(x_q, size):
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

    def each(
        self,
        x: Tensor,
        score: Callable[[Tensor], Tensor],
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Crop every map to its own hardest window, where the loss separates.

        SwAV's loss is a sum of one term a view: the largest pair is the pair of the
        largest.

        Args:
            x (Tensor): Maps (N, C, H, W).
            score (Callable): From pooled windows (N, M, C) to losses (N, M).
            generator (torch.Generator, optional): As in :meth:`forward`.

        Returns:
            tuple[Tensor, Tensor]: Windows (N, C, h, w) and their corners (N, 2).
        """
        size = self._size(x)
        corners = self._draw(x, size, generator)
        losses = None
        if self._nothing_to_choose(x, size):
            index = corners.new_zeros(len(x))
        else:
            with torch.no_grad():
                losses = score(pool_windows(x, corners, size))
                index = self._extreme(losses)
        self._tell(x, size, (corners,), losses, (index,))
        chosen = _take(corners, index)
        return crop_windows(x, chosen, size), chosen

    def random(
        self,
        x: Tensor,
        generator: torch.Generator | None = None,
        to_key_order: Callable[[Tensor], Tensor] | None = None,
        num_images: int | None = None,
    ) -> Selection:
        """Crop one random window a map, where there is no partner to score against.

        Args:
            x (Tensor): Maps (N, C, H, W).
            generator (torch.Generator, optional): As in :meth:`forward`.
            to_key_order (Callable, optional): Not needed here.
            num_images (int, optional): Not needed here.
        """
        size = self._size(x)
        corners = self._draw(x, size, generator)[:, 0]
        return Selection(None, crop_windows(x, corners, size), corners_k=corners)

    def _tell(
        self,
        x: Tensor,
        size: tuple[int, int],
        corners: tuple[Tensor, ...],
        losses: Tensor | None,
        chosen: tuple[Tensor, ...],
    ) -> None:
        if self.watcher is not None:
            map_size = (x.shape[-2], x.shape[-1])
            self.watcher(Choice(map_size, size, corners, losses, chosen))

    def _size(self, x: Tensor) -> tuple[int, int]:
        return window_size(x.shape[-2], x.shape[-1], self.crop_ratio)

    def _nothing_to_choose(self, x: Tensor, size: tuple[int, int]) -> bool:
        scored = self.select != 'random' and self.num_candidates > 1
        return not scored or size == tuple(x.shape[-2:])

    def _extreme(self, losses: Tensor) -> Tensor:
        return losses.argmax(1) if self.select == 'hard' else losses.argmin(1)

    def _draw(
        self, x: Tensor, size: tuple[int, int], generator: torch.Generator | None
    ) -> Tensor:
        corners = draw_windows(
            len(x), self.num_candidates, x.shape[-2:], size, generator
        )
        return corners.to(x.device, non_blocking=True)

    def extra_repr(self) -> str:
        """Return the arguments, for ``print(model)``."""
        return (
            f'after_stages={self.after_stages}, num_candidates={self.num_candidates}, '
            f'crop_ratio={self.crop_ratio}, select={self.select!r}'
        )


def _take(corners: Tensor, index: Tensor) -> Tensor:
    """(N, M, 2) and (N,) to (N, 2)."""
    return corners[torch.arange(len(index), device=index.device), index]


def check_stages(after_stages: Sequence[int]) -> None:
    """Refuse stages that are not counted from 1.

    Raises:
        ValueError: Naming them.
    """
    if any(stage < 1 for stage in after_stages):
        raise ValueError(
            f'after_stages={tuple(after_stages)} counts stages from 1; '
            'use for example after_stages=(1, 2)'
        )


def _check(select: str, crop_ratio: float) -> None:
    window_size(1, 1, crop_ratio)  # refuses a ratio out of range
    if select not in SELECTIONS:
        raise ValueError(f'select={select!r} is unknown; use {", ".join(SELECTIONS)}')
