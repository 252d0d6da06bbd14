"""Shuffle-BN's permutation as an object: small tensors follow it, maps never do."""

from __future__ import annotations

import torch
from mmengine.dist import broadcast, get_rank, get_world_size
from torch import Tensor

from .transfer import gather_rows, to_device


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
        slot_of_every_image (Tensor, optional): As ``slot_of_image``, for the images of
            all ranks, where this rank knows them.

    Note:
        Methods gather over ranks, except for ``draw``'s arguments.
    """

    def __init__(
        self,
        slot_of_image: Tensor,
        slot_of_key: Tensor,
        piece: int,
        slot_of_every_image: Tensor | None = None,
    ) -> None:
        self._slot_of_image = slot_of_image
        self._slot_of_key = slot_of_key
        self._piece = piece
        self._slot_of_every_image = slot_of_every_image

    @classmethod
    @torch.no_grad()
    def draw(cls, images: Tensor) -> tuple[Tensor, BatchShuffle]:
        """Shuffle images by the permutation that upstream draws.

        Returns:
            tuple[Tensor, BatchShuffle]: The images that this rank's key encoder sees,
            and the shuffle.

        Note:
            Draws from torch's generator of the CPU; rank 0's permutation counts.
        """
        drawn = torch.randperm(get_world_size() * len(images))
        order = to_device(drawn, images.device)
        broadcast(order, src=0)
        shuffle = cls.from_permutation(torch.argsort(order), len(images), order)
        return shuffle.to_keys(images), shuffle

    @classmethod
    def from_permutation(
        cls, unshuffle: Tensor, batch: int, order: Tensor | None = None
    ) -> BatchShuffle:
        """Take the permutation over the total batch that undoes the shuffle.

        Args:
            unshuffle (Tensor): (B,) for each image the place of its key.
            batch (int): Images per rank.
            order (Tensor, optional): (B,) its inverse. Computed by default.
        """
        order = torch.argsort(unshuffle) if order is None else order
        mine = slice(get_rank() * batch, (get_rank() + 1) * batch)
        return cls(unshuffle[mine], order[mine], batch, unshuffle)

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

    def to_every_image(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """As :meth:`to_images`, and the rows of the images of all ranks."""
        if self._slot_of_every_image is None:
            own = self.to_images(x)
            return own, gather_rows(own)
        every = self._gather(x)[self._slot_of_every_image]
        first = get_rank() * self.num_images
        return every[first : first + self.num_images], every

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
        return gather_rows(x)
