"""How far a pretrained network spreads images; a collapse shows here."""

from __future__ import annotations

from typing import NamedTuple, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from mmaccel.models.algorithms.accel_base import AccelMixin
from mmaccel.models.utils.backbones import stage_names
from mmaccel.models.utils.representation import effective_rank, feature_std
from mmaccel.models.utils.stages import split_stages


class Spread(NamedTuple):
    """Of the projected views of N images.

    ``pos_sim, neg_sim``: mean cosine similarity of two views of one image, and of views
    of two images; ``feature_std``: 1 where features are isotropic, 0 where all are
    alike; ``effective_rank``: directions in use, at most N.
    """

    pos_sim: float
    neg_sim: float
    feature_std: float
    effective_rank: float


@torch.no_grad()
def spread_of(model: nn.Module, inputs: Sequence[Tensor]) -> dict[int, Spread]:
    """Project two views of a batch and measure how far they lie apart.

    Both views go through the network that is trained, whole and uncropped, as in a
    step of the last exit without windows.

    Args:
        model (nn.Module): A pretraining algorithm, accelerated or upstream's.
        inputs (Sequence[Tensor]): Two views (N, 3, H, W), after the data preprocessor.

    Returns:
        dict[int, Spread]: For each stage with a projector; the last alone for an
        algorithm of upstream.

    Note:
        Batch norms use the batch's statistics, as in training, so that their running
        ones change.
    """
    model.train()
    first, second = (_projected(model, view) for view in inputs[:2])
    return {stage: _spread(first[stage], second[stage]) for stage in first}


def _projected(model: nn.Module, images: Tensor) -> dict[int, Tensor]:
    if isinstance(model, AccelMixin):
        vectors, x = {}, images.contiguous(memory_format=model.layout)
        for stage, part in enumerate(split_stages(model.backbone), 1):
            x = part(x)
            vectors[stage] = model.project(model.neck, x, stage)
        return vectors
    maps = tuple(model.backbone(images))
    swav = type(model).__name__ == 'SwAV'  # its neck takes a list of crops' maps
    z = model.neck([maps] if swav else maps)[0]
    return {len(stage_names(model.backbone)): normalize(z, dim=1)}


def _spread(first: Tensor, second: Tensor) -> Spread:
    first, second = first.float(), second.float()
    similarity = first @ second.t()
    others = ~torch.eye(len(first), dtype=torch.bool, device=first.device)
    return Spread(
        pos_sim=similarity.diag().mean().item(),
        neg_sim=similarity[others].mean().item(),
        feature_std=feature_std(first).item(),
        effective_rank=effective_rank(first).item(),
    )
