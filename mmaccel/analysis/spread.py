"""How far apart a pretrained network places images; a collapse shows here."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.runner import set_random_seed
from torch import Tensor
from torch.nn.functional import normalize

from mmaccel import host
from mmaccel.errors import ConfigError
from mmaccel.models.algorithms.accel_base import AccelAlgorithm
from mmaccel.models.utils.backbones import stage_names
from mmaccel.models.utils.representation import effective_rank, feature_std
from mmaccel.models.utils.stages import StagePass, split_stages

from .trained import trained_model, training_set


class FeatureSpread(NamedTuple):
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
def spread_of(model: Any, inputs: Sequence[Tensor]) -> dict[int, FeatureSpread]:
    """Project two views of a batch and measure how far they lie apart.

    Both views go through the network that is trained, whole and uncropped, as in a
    step of the last exit without windows.

    Args:
        model (nn.Module): A pretraining algorithm, accelerated or upstream's.
        inputs (Sequence[Tensor]): Two views (N, 3, H, W), after the data preprocessor.

    Returns:
        dict[int, FeatureSpread]: For each stage with a projector; the last alone for an
        algorithm of upstream.

    Note:
        Batch norms use the batch's statistics, as in training, so that their running
        ones change.
    """
    model.train()
    first, second = (_projected(model, view) for view in inputs[:2])
    return {stage: _spread(first[stage], second[stage]) for stage in first}


def spread_of_checkpoint(
    cfg: Config, checkpoint: str, number: int = 256, seed: int = 0
) -> tuple[int, dict[int, FeatureSpread]]:
    """Measure a checkpoint on images of its training set.

    Args:
        cfg (Config): The config that it was trained by.
        checkpoint (str): All weights of its model.
        number (int): Images, drawn from the training set. Defaults to 256.
        seed (int): Of images and views. Defaults to 0.

    Returns:
        tuple[int, dict[int, FeatureSpread]]: The number of images, which is smaller
        for a smaller set, and :func:`spread_of` them.

    Raises:
        ConfigError: If model, checkpoint or images do not fit.
    """
    set_random_seed(seed)
    model = trained_model(cfg, checkpoint)
    dataset = training_set(cfg)
    if min(number, len(dataset)) < 2:
        raise ConfigError(
            f'--num {number} of {len(dataset)} images leaves no two to compare'
        )
    chosen = torch.randperm(len(dataset))[:number].tolist()
    batch = default_collate([dataset[i] for i in chosen])
    inputs, _ = host.prepared(model.data_preprocessor, batch, True)
    return len(chosen), spread_of(model, inputs)


def _projected(model: Any, images: Tensor) -> dict[int, Tensor]:
    if isinstance(model, AccelAlgorithm):
        images = images.contiguous(memory_format=model.layout)
        maps = StagePass(split_stages(model.backbone), images).run_to(model.num_exits)
        return {stage: model.project(model.neck, x, stage) for stage, x in maps}
    last = tuple(model.backbone(images))
    swav = type(model).__name__ == 'SwAV'  # its neck takes a list of crops' maps
    z = model.neck([last] if swav else last)[0]
    return {len(stage_names(model.backbone)): normalize(z, dim=1)}


def _spread(first: Tensor, second: Tensor) -> FeatureSpread:
    first, second = first.float(), second.float()
    similarity = first @ second.t()
    others = ~torch.eye(len(first), dtype=torch.bool, device=first.device)
    return FeatureSpread(
        pos_sim=similarity.diag().mean().item(),
        neg_sim=similarity[others].mean().item(),
        feature_std=feature_std(first).item(),
        effective_rank=effective_rank(first).item(),
    )
