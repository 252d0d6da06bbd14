"""Pooled backbone features of a labelled set."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Iterable, Iterator

import torch
from torch import nn


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Set every module to evaluation, and give each its own mode back on exit.

    ``model.train()`` would not do for the way back: it also wakes modules that the user
    keeps in evaluation, such as frozen normalisation layers.
    """
    training = {module: module.training for module in model.modules()}
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module, mode in training.items():
            module.training = mode


@torch.no_grad()
def extract_features(
    model: nn.Module, batches: Iterable[dict]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Features and labels of all batches, from the last stage of the backbone.

    Maps are averaged over their area, as a linear classifier sees them. Only the data
    preprocessor and the backbone run, in evaluation mode: no buffer changes.

    Args:
        model (nn.Module): An MMSelfSup algorithm, not wrapped.
        batches (Iterable[dict]): Batches of ``inputs``, whose first view is used, and
            ``data_samples`` with ``gt_label``.

    Shape:
        returns: features (N, D) in fp32 and labels (N,), on the model's device.
    """
    features, labels = [], []
    with evaluation_mode(model):
        for batch in batches:
            inputs, samples = model.data_preprocessor(batch, False)
            maps = model.backbone(inputs[0])
            last = maps[-1] if isinstance(maps, (tuple, list)) else maps
            features.append(last.flatten(2).mean(2) if last.ndim > 2 else last)
            labels += [sample_label(sample) for sample in samples]
    x = torch.cat(features).float()
    return x, torch.as_tensor(labels, device=x.device)


def sample_label(sample: object) -> int:
    """The class index a data sample carries.

    Raises:
        ValueError: If it carries none.
    """
    label = getattr(sample, 'gt_label', None)
    if label is None:
        raise ValueError(
            'The kNN monitor needs labels: use a labelled dataset and end its pipeline '
            "with dict(type='PackSelfSupInputs', algorithm_keys=['gt_label'])."
        )
    # MMSelfSup packs the index as `value`, MMClassification as `label`
    return int(label.value if 'value' in label else label.label)
