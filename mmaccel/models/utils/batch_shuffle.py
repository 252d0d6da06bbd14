"""Shuffle-BN's permutation as an object: small tensors follow it, maps never do."""

from __future__ import annotations

import torch
from mmselfsup.utils import batch_shuffle_ddp, batch_unshuffle_ddp
from torch import Tensor


class BatchShuffle:
    """A permutation of the batch over all ranks (He et al. 2020, Section 3.3).

    Upstream shuffles the key images and unshuffles the key vectors. Windows are
    chosen in between: their candidates' vectors come back to the image's own order
    and the chosen indices go out again, both a few bytes an image.

    Args:
        unshuffle (Tensor): (B,) permutation over the total batch, as upstream's
            ``batch_shuffle_ddp`` returns it.

    Note:
        Both methods gather over ranks. ``x`` has this rank's batch in dimension 0.
    """

    def __init__(self, unshuffle: Tensor) -> None:
        self._unshuffle = unshuffle
        self._shuffle = torch.argsort(unshuffle)

    @classmethod
    def draw(cls, images: Tensor) -> tuple[Tensor, BatchShuffle]:
        """Shuffle images with upstream's function; return them and the shuffle."""
        shuffled, unshuffle = batch_shuffle_ddp(images)
        return shuffled, cls(unshuffle)

    def to_keys(self, x: Tensor) -> Tensor:
        """Bring rows from image order to the order the key encoder sees."""
        return batch_unshuffle_ddp(x, self._shuffle)

    def to_images(self, x: Tensor) -> Tensor:
        """Bring rows from the key encoder's order back to image order."""
        return batch_unshuffle_ddp(x, self._unshuffle)
