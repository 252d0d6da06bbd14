"""Shuffle-BN's permutation as an object: small tensors follow it, maps never do."""

from __future__ import annotations

import torch
from mmengine.dist import get_rank
from mmselfsup.utils import batch_shuffle_ddp, concat_all_gather
from torch import Tensor


class BatchShuffle:
    """A permutation of the batch over all ranks (He et al. 2020, Section 3.3).

    Upstream shuffles the key images and unshuffles the key vectors. Windows are
    chosen in between: their candidates' vectors come back to the image's own order
    and the chosen indices go out again, both a few bytes per image.

    Ranks exchange rows by gathering equally long pieces; a slot is a place in the
    gathered whole.

    Args:
        slot_of_image (Tensor): (N,) for each of this rank's images the slot of its
            key.
        slot_of_key (Tensor): (R,) for each of this rank's keys the slot of its image.
        piece (int): Rows that a rank contributes to a gathering, >= N and R.

    Note:
        Methods gather over ranks, except for ``draw``'s arguments.
    """

    def __init__(self, slot_of_image: Tensor, slot_of_key: Tensor, piece: int) -> None:
        self._slot_of_image = slot_of_image
        self._slot_of_key = slot_of_key
        self._piece = piece

    @classmethod
    def draw(cls, images: Tensor) -> tuple[Tensor, BatchShuffle]:
        """Shuffle images with upstream's function; return them and the shuffle."""
        shuffled, unshuffle = batch_shuffle_ddp(images)
        # moved once: indexing with host indices waits for the device every time
        unshuffle = unshuffle.to(images.device)
        return shuffled, cls.from_permutation(unshuffle, len(images))

    @classmethod
    def from_permutation(cls, unshuffle: Tensor, batch: int) -> BatchShuffle:
        """Take the permutation over the total batch that undoes the shuffle."""
        mine = slice(get_rank() * batch, (get_rank() + 1) * batch)
        return cls(unshuffle[mine], torch.argsort(unshuffle)[mine], batch)

    @property
    def num_images(self) -> int:
        """This rank's images that are still there."""
        return len(self._slot_of_image)

    def to_keys(self, x: Tensor) -> Tensor:
        """Bring rows from image order to the order the key encoder sees."""
        return self._gather(x)[self._slot_of_key]

    def to_images(self, x: Tensor) -> Tensor:
        """Bring rows from the key encoder's order back to image order."""
        return self._gather(x)[self._slot_of_image]

    def subset(self, kept: Tensor) -> BatchShuffle:
        """Shuffle of a part of the images, keys in the order they had.

        Args:
            kept (Tensor): (n,) this rank's images that stay, in ascending order.

        Note:
            Ranks may be left with unequal numbers of keys.
        """
        first = get_rank() * self._piece
        images = torch.full(
            (self.num_images,), -1, dtype=torch.long, device=kept.device
        )
        images[kept] = first + torch.arange(len(kept), device=kept.device)
        slot_of_key = self.to_keys(images)
        stay = slot_of_key >= 0
        keys = first + torch.cumsum(stay, 0) - 1
        slot_of_image = self.to_images(keys)[kept]
        return BatchShuffle(slot_of_image, slot_of_key[stay], self._piece)

    def _gather(self, x: Tensor) -> Tensor:
        if len(x) < self._piece:
            x = torch.cat((x, x.new_zeros(self._piece - len(x), *x.shape[1:])))
        return concat_all_gather(x)
