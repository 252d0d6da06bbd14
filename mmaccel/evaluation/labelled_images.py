"""Labelled images for an evaluation, from a config or a folder."""

from __future__ import annotations

import torch
from mmengine.config import Config, ConfigDict
from mmengine.dataset import default_collate
from mmselfsup.registry import DATASETS
from torch.utils.data import DataLoader, Subset

from mmaccel.engine.config import dicts
from mmaccel.engine.preflight import check_data
from mmaccel.errors import ConfigError

from .features import sample_label


def knn_set(cfg: Config, split: str = 'test') -> dict:
    """Config of the labelled set that a config's ``KNNHook`` measures on.

    Args:
        cfg (Config): A pretraining config.
        split (str): ``'train'`` or ``'test'``. Defaults to ``'test'``.

    Raises:
        ConfigError: If the config has no such hook.
    """
    for node in dicts([cfg.get('default_hooks'), cfg.get('custom_hooks')]):
        if str(node.get('type')).rpartition('.')[2] == 'KNNHook':
            return node[f'{split}_dataloader']['dataset']
    raise ConfigError(
        f'{cfg.filename} has no KNNHook that names labelled images; give --data-root '
        'a folder with one sub-folder a class'
    )


def folder_set(cfg: Config, folder: str) -> dict:
    """Config of a folder with one sub-folder a class, cut as upstream tests.

    The short side is 256/224 of the largest view of the pretraining, its middle is
    used; views below 96 px, such as CIFAR's, are used whole.

    Args:
        cfg (Config): The pretraining config.
        folder (str): The folder.
    """
    crops = [
        t['size']
        for t in dicts(cfg.train_dataloader.dataset)
        if str(t.get('type')).endswith('RandomResizedCrop')
    ]
    size = max((s if isinstance(s, int) else max(s) for s in crops), default=224)
    edge = round(size * 256 / 224) if size >= 96 else size
    grey = cfg.model.backbone.get('in_channels', 3) == 1
    pipeline = [
        dict(type='LoadImageFromFile', color_type='grayscale' if grey else 'color'),
        dict(type='mmcls.ResizeEdge', scale=edge, edge='short', backend='pillow'),
        dict(type='mmcls.CenterCrop', crop_size=size),
        dict(type='PackSelfSupInputs', algorithm_keys=['gt_label']),
    ]
    return dict(type='mmcls.CustomDataset', data_prefix=folder, pipeline=pipeline)


def load_set(
    config: dict, limit: int | None = None, batch_size: int = 64
) -> tuple[DataLoader, list[str]]:
    """Open a labelled set.

    Args:
        config (dict): Of the dataset.
        limit (int, optional): Use this many images, spread evenly over it.
        batch_size (int): Defaults to 64.

    Returns:
        tuple: Batches in order, and the names of the classes.

    Raises:
        ConfigError: If it is missing, or :class:`ValueError` if it has no labels.
    """
    check_data(Config(dict(test_dataloader=dict(dataset=config))), 'test_dataloader')
    dataset = DATASETS.build(ConfigDict(config))
    size = len(dataset)
    count = min(size, limit or size)
    names = dataset.metainfo.get('classes')
    subset = Subset(dataset, [i * size // count for i in range(count)])
    sample_label(subset[0]['data_samples'])
    classes = [str(name) for name in names] if names else [str(i) for i in range(10000)]
    # a generator of its own, or starting the loader would draw from the global one
    loader = DataLoader(
        subset, batch_size, collate_fn=default_collate, generator=torch.Generator()
    )
    return loader, classes
