"""Hard examples: pass on only the images whose loss is largest."""

from collections.abc import Sequence

import torch
from mmengine.registry import MODELS
from torch import Generator, Tensor, nn

from ..utils.transfer import to_device
from .hard_pair_crop import CropResult, Reorder, Score, check_stages


@MODELS.register_module()
class HardExampleLayer(nn.Module):
    """Keep the hardest share of the mini-batch, at full map size.

    The paper compares hard-pair selection with "selecting hard examples in each
    mini-batch" at the same cost (Section 4.3, Table 5). It takes the place of
    :class:`HardPairCropLayer`; a whole map is its only candidate.

    Args:
        after_stages (Sequence[int]): Stages, counted from 1, after which images are
            dropped. Defaults to (1, 2).
        keep (float): Share of the images that goes on, in (0, 1]; the number is
            rounded, at least 1. Defaults to 0.5625, the area of a window of ratio 0.75.

    Attributes:
        scores (bool): True: images are chosen by their losses.

    Raises:
        ValueError: If an argument is out of its range.

    Note:
        Each rank keeps the same number of its own images. Scoring runs without
        gradients and changes no buffer.
    """

    scores = True

    def __init__(self, after_stages: Sequence[int] = (1, 2), keep: float = 0.5625):
        super().__init__()
        if not 0 < keep <= 1:
            raise ValueError(
                f'keep={keep} is outside (0, 1]; use keep=0.5625 for the cost of '
                'windows of ratio 0.75'
            )
        check_stages(after_stages)
        self.after_stages = tuple(after_stages)
        self.keep = keep

    def forward(
        self,
        x_q: Tensor,
        x_k: Tensor,
        score: Score,
        generator: Generator | None = None,
        to_key_order: Reorder | None = None,
    ) -> CropResult:
        """Drop all but the hardest images.

        Args:
            x_q (Tensor): Query maps (N, C, H, W).
            x_k (Tensor): Key maps (R, C, H, W), in the key encoder's order.
            score (Callable): From pooled maps (N, 1, C) and (R, 1, C) to losses
                (N, 1, 1) in image order.
            generator (torch.Generator, optional): Not needed here.
            to_key_order (Callable, optional): Brings rows from image order to that
                of ``x_k``, where the two differ (shuffle-BN).
        """
        kept = self.hardest(x_q, x_k, score)
        rows = _key_rows(kept, len(x_q), to_key_order)
        return CropResult(x_q[kept], x_k[rows], kept=kept)

    def side_by_side(
        self, x: Tensor, score: Score, generator: Generator | None = None
    ) -> Tensor:
        """Drop all but the hardest images where views lie next to each other.

        Args:
            x (Tensor): Maps (2N, C, H, W); rows 2n and 2n + 1 are views of image n.
            score (Callable): As in :meth:`forward`.
            generator (torch.Generator, optional): Not needed here.

        Returns:
            Tensor: Maps (2n, C, H, W) of the images kept, in the same order.
        """
        kept = self.hardest(x[0::2], x[1::2], score)
        return x[torch.stack((2 * kept, 2 * kept + 1), dim=1).flatten()]

    @torch.no_grad()
    def hardest(self, x_q: Tensor, x_k: Tensor, score: Score) -> Tensor:
        """Indices (n,) of the images with the largest loss, ascending."""
        losses = score(*(x.mean(dim=(2, 3)).unsqueeze(1) for x in (x_q, x_k)))
        hardest = losses.flatten().argsort(descending=True, stable=True)
        return hardest[: self._number(len(x_q))].sort().values

    def random(
        self,
        x: Tensor,
        generator: Generator | None = None,
        to_key_order: Reorder | None = None,
        num_images: int | None = None,
    ) -> CropResult:
        """Keep as many random images, where there is no partner to score against.

        Args:
            x (Tensor): Key maps (R, C, H, W).
            generator (torch.Generator, optional): On the CPU.
            to_key_order (Callable, optional): As in :meth:`forward`.
            num_images (int, optional): This rank's images N. Defaults to R, the keys.
        """
        count = len(x) if num_images is None else num_images
        order = to_device(torch.randperm(count, generator=generator), x.device)
        kept = order[: self._number(count)].sort().values
        return CropResult(None, x[_key_rows(kept, count, to_key_order)], kept=kept)

    def _number(self, count: int) -> int:
        return max(1, round(self.keep * count))

    def extra_repr(self) -> str:
        """Return the arguments, for ``print(model)``."""
        return f'after_stages={self.after_stages}, keep={self.keep}'


def _key_rows(kept: Tensor, count: int, to_key_order: Reorder | None) -> Tensor:
    """Rows of the keys that belong to the images kept."""
    if to_key_order is None:
        return kept
    stays = torch.zeros(count, dtype=torch.uint8, device=kept.device)
    stays[kept] = 1
    return to_key_order(stays).nonzero().flatten()
