"""Which vectors of a batch are an image's negatives."""

from __future__ import annotations

import torch
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
