"""Which vectors are an image's negatives, and what tells them apart."""

from __future__ import annotations

import torch
from mmengine.dist import get_rank
from torch import Tensor


def other_images(rows: Tensor, total: int, views: int = 2) -> Tensor:
    """Columns of the vectors of all images but a row's own.

    Args:
        rows (Tensor): (R,) rows of a (total, total) matrix; an image's views are side
            by side.
        total (int): Number of vectors.
        views (int): Vectors per image. Defaults to 2.

    Returns:
        Tensor: (R, total - views) columns, ascending.
    """
    column = torch.arange(total - views, device=rows.device)
    own = (rows // views * views).unsqueeze(1)  # the first of the image's views
    return column + views * (column >= own)


def similarity_to_others(q: Tensor, keys: Tensor) -> Tensor:
    """Similarities of queries to the keys of the other images of a step.

    Args:
        q (Tensor): (N, ..., D) unit vectors, row n of image n of this rank.
        keys (Tensor): (B, D) keys of all ranks, in the order of their images.

    Returns:
        Tensor: (N, ..., B - 1).
    """
    rows = torch.arange(len(q), device=q.device) + get_rank() * len(q)
    others = other_images(rows, len(keys), views=1)  # (N, B - 1)
    others = others.view(len(q), *(1,) * (q.dim() - 2), -1)
    similarity = torch.matmul(q, keys.t())  # (N, ..., B)
    return similarity.gather(-1, others.expand(*q.shape[:-1], -1))


@torch.no_grad()
def age_gap(q: Tensor, keys: Tensor, oldest: Tensor) -> Tensor:
    """How much more similar other images' keys are when they are new than when old.

    Near 0 if the age of a key tells nothing. Otherwise the positive, which is new, can
    be told from a queue by its age alone. Not in the paper.

    Args:
        q (Tensor): (N, ..., D) unit vectors, row n of image n of this rank.
        keys (Tensor): (B, D) keys of this step, of all ranks.
        oldest (Tensor): (D, A) oldest keys of the queue.

    Returns:
        Tensor: Difference of the mean similarities, from -2 to 2; NaN if the step has
        a single image.
    """
    return similarity_to_others(q, keys).mean() - torch.matmul(q, oldest).mean()
