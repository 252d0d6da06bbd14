"""Pooled backbone features of a labelled set, of the last stage or of all."""

from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any, cast

import torch
from mmengine.model import BaseModel
from torch import nn
from torch.utils.data import Dataset, Subset

from mmaccel import host
from mmaccel.engine.autocast_wrapper import warn_if_slow_in_bf16
from mmaccel.errors import ConfigError
from mmaccel.models.utils.backbones import (
    last_map,
    pooled_map,
    stage_names,
    view_with,
)
from mmaccel.models.utils.norms import evaluation_mode


@torch.no_grad()
def extract_features(
    model: BaseModel, batches: Iterable[dict]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Features and labels of all batches, from the last stage of the backbone.

    Maps are averaged over their area, as a linear classifier sees them. Only the data
    preprocessor and the backbone run, in evaluation mode: no buffer changes.

    Args:
        model (BaseModel): An MMSelfSup algorithm, not wrapped.
        batches (Iterable[dict]): Batches of ``inputs``, whose first view is used, and
            ``data_samples`` with ``gt_label``.

    Shape:
        returns: features (N, D) in fp32 and labels (N,), on the model's device.
    """
    features, labels = [], []
    backbone = model.get_submodule('backbone')
    with evaluation_mode(model.modules()):
        for batch in batches:
            inputs, samples = host.prepared(model.data_preprocessor, batch, False)
            features.append(pooled_map(backbone(inputs[0])))
            labels += [sample_label(sample) for sample in samples]
    x = torch.cat(features).float()
    return x, torch.as_tensor(labels, device=x.device)


@torch.no_grad()
def extract_stage_features(
    model: BaseModel, batches: Iterable[dict], amp: torch.dtype | None = None
) -> Iterator[tuple[list[torch.Tensor], list[int]]]:
    """Features after the stem and after every stage, and labels, batch by batch.

    Args:
        model (BaseModel): As for :func:`extract_features`.
        batches (Iterable[dict]): As for :func:`extract_features`.
        amp (torch.dtype, optional): Type of mixed precision. By default none.

    Yields:
        tuple: As :func:`pooled_stages` gives them, and the batch's labels.
    """
    backbone = model.get_submodule('backbone')
    forward = pooled_stages(backbone)
    if amp is torch.bfloat16:
        warn_if_slow_in_bf16(next(model.parameters()).device.type)
    with evaluation_mode(model.modules()):
        for batch in batches:
            inputs, samples = host.prepared(model.data_preprocessor, batch, False)
            with torch.autocast(inputs[0].device.type, amp, enabled=amp is not None):
                features = forward(inputs[0])
            yield features, [sample_label(sample) for sample in samples]


def pooled_stages(
    backbone: nn.Module,
) -> Callable[[torch.Tensor], list[torch.Tensor]]:
    """A forward pass that returns every stage's map, averaged over its area.

    The stem's map is taken before its pooling, as with upstream's ``out_indices=0``. It
    is computed by upstream's own ``forward`` on a view of the backbone that ends there,
    so that every stem works.

    Args:
        backbone (nn.Module): Any class with a stem and ``layer1`` ... ``layerN``.

    Shape:
        returns: a function from (B, C, H, W) to N + 1 tensors (B, C_i), the stem first.

    Raises:
        ValueError: If the backbone has no stages.
    """
    names = stage_names(backbone)
    pool = getattr(backbone, 'maxpool', None)
    later = [*names, 'maxpool'] if pool else names
    stem = view_with(backbone, {name: nn.Identity() for name in later})

    def forward(x: torch.Tensor) -> list[torch.Tensor]:
        x = last_map(stem(x))
        pooled = [pooled_map(x)]
        x = pool(x) if pool else x
        for name in names:
            x = getattr(backbone, name)(x)
            pooled.append(pooled_map(x))
        return pooled

    return forward


def spread(dataset: Dataset, limit: int | None) -> Subset:
    """At most ``limit`` labelled samples, spread evenly over a dataset.

    Raises:
        ValueError: If the first has no label.
    """
    size = len(cast(Sized, dataset))
    count = min(size, limit or size)
    subset = Subset(dataset, [i * size // count for i in range(count)])
    sample_label(subset[0]['data_samples'])
    return subset


def check_labels(train: Any, test: Any) -> None:
    """Check that labels without names mean the same in two data sets.

    A list that counts its classes from 0 beside one that counts from 1 would shift
    every class, and show as a low accuracy alone.

    Args:
        train (BaseDataset): Images to learn from.
        test (BaseDataset): Images to classify.

    Raises:
        ConfigError: If some label of ``test`` is none of ``train``'s, and the classes
            have no names that tell which is meant.
    """
    if all(dataset.metainfo.get('classes') for dataset in (train, test)):
        return
    known, asked = (
        {int(dataset.get_data_info(i)['gt_label']) for i in range(len(dataset))}
        for dataset in (train, test)
    )
    if not asked <= known:
        raise ConfigError(
            f'the images to classify have the label {min(asked - known)}, those to '
            f'learn from have labels from {min(known)} to {max(known)} without it; '
            'let both lists count the classes from 0, in the same order'
        )


def sample_label(sample: object) -> int:
    """The class index a data sample carries.

    Raises:
        ValueError: If it carries none.
    """
    label = getattr(sample, 'gt_label', None)
    if label is None:
        pack = host.current().labelled()
        settings = ', '.join(f'{key}={value!r}' for key, value in pack.items())
        raise ValueError(
            'The kNN monitor needs labels: use a labelled dataset and end its pipeline '
            f'with dict({settings})'
        )
    if isinstance(label, torch.Tensor):  # MMPretrain
        return int(label)
    # MMSelfSup packs the index as `value`, MMClassification as `label`
    return int(label.value if 'value' in label else label.label)
