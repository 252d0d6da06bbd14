"""First-in first-out queue of feature vectors that lives in the checkpoint."""

import torch
from torch import Tensor, nn


class FeatureQueue(nn.Module):
    """Ring buffer of L2-normalised vectors, one for each stage that has a loss.

    MoCo keeps its negatives this way (He et al. 2020, Section 3.1); the accelerated
    method keeps "additional layer-wise" ones (paper, Appendix A). Features and
    pointer are buffers: they follow the model's device and are saved and resumed
    with it. The pointer is never read by the host.

    Args:
        feat_dim (int): Length D of a vector.
        queue_len (int): Number K of vectors.

    Shape:
        - ``features``: (D, K), as upstream's ``MoCo.queue``.
    """

    features: Tensor
    pointer: Tensor

    def __init__(self, feat_dim: int, queue_len: int) -> None:
        super().__init__()
        features = nn.functional.normalize(torch.randn(feat_dim, queue_len), dim=0)
        self.register_buffer('features', features)
        self.register_buffer('pointer', torch.zeros(1, dtype=torch.long))

    def __len__(self) -> int:
        return self.features.size(1)

    def oldest(self, number: int) -> Tensor:
        """The vectors (D, number) to be replaced next, number <= K."""
        return self.features.index_select(1, self._next(number))

    def enqueue(self, vectors: Tensor, reader: Tensor | None = None) -> None:
        """Replace the oldest vectors.

        Args:
            vectors (Tensor): (B, D), B <= K, the same on every rank.
            reader (Tensor, optional): Vectors that were multiplied with the queue. If
                they await a gradient, the queue changes when that has come: the
                backward pass reads it too, and need not be given a copy.
        """
        if reader is not None and reader.requires_grad:
            reader.register_hook(lambda _: self._replace(vectors))
        else:
            self._replace(vectors)

    @torch.no_grad()
    def _replace(self, vectors: Tensor) -> None:
        slots = self._next(len(vectors))
        self.features.index_copy_(1, slots, vectors.t().to(self.features.dtype))
        self.pointer.add_(len(vectors)).remainder_(len(self))

    def _next(self, number: int) -> Tensor:
        slots = self.pointer + torch.arange(number, device=self.pointer.device)
        return slots % len(self)
