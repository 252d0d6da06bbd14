"""Labelled images for evaluations, from a config or a folder."""

from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.config import Config, ConfigDict
from mmengine.dataset import default_collate
from mmengine.registry import DATASETS
from torch.utils.data import DataLoader

from mmaccel import host
from mmaccel.engine.config import use_checked_files
from mmaccel.engine.config_reader import hooks, image_loader, training_set, views
from mmaccel.engine.preflight import check_data, check_labels
from mmaccel.errors import ConfigError

from .features import spread

#: Training images, and those to classify.
SPLITS = ('train', 'test')

_LAYOUT = 'with train/<class>/* and test/<class>/* or val/<class>/*'


def labelled_sets(
    cfg: Config, data_root: str | None = None, splits: Sequence[str] = SPLITS
) -> dict[str, dict]:
    """Configs of the labelled images that belong to a pretraining.

    Args:
        cfg (Config): The pretraining's config.
        data_root (str, optional): Folder with ``train/`` and ``test/`` or ``val/``, a
            sub-folder per class in each, or ImageNet's layout with ``meta/*.txt``. By
            default the sets of the config's ``KNNHook``.
        splits (Sequence[str]): Which are needed, of :data:`SPLITS`; default: both.

    Returns:
        dict[str, dict]: A dataset's config for each. Every file that is an image by
        its name is in it, and a damaged one raises when it is read.

    Raises:
        ConfigError: If images are missing or the config has no such hook.
    """
    sets = _folder_sets(cfg, data_root, splits) if data_root else _monitor_sets(cfg)
    for config in sets.values():
        use_checked_files(config)
        check_labels(config)
    return {split: sets[split] for split in splits}


def folder_set(cfg: Config, folder: str, ann_file: str = '') -> dict:
    """Config of a folder with one sub-folder per class, cropped as upstream tests.

    Args:
        cfg (Config): The pretraining's config.
        folder (str): The folder.
        ann_file (str): List of files and labels, for a flat folder. Defaults to none.
    """
    return dict(
        type=f'{host.of(cfg).labels}.CustomDataset',
        ann_file=ann_file,
        data_prefix=folder,
        pipeline=test_pipeline(cfg),
    )


def test_pipeline(cfg: Config) -> list[dict]:
    """Upstream's test pipeline at the config's ``test_size``.

    By default that is the size of the pretraining's largest view. 224 px are the middle
    of 256, as upstream has it; images of CIFAR's size have nothing to lose at their
    border and are used whole.
    """
    sizes = [max(view.size) for view in views(training_set(cfg)) if view.size]
    size = cfg.get('test_size') or max(sizes, default=224)
    edge = round(size * 256 / 224) if size >= 96 else size
    package = host.of(cfg)
    return [
        image_loader(cfg),
        dict(
            type=f'{package.labels}.ResizeEdge',
            scale=edge,
            edge='short',
            backend='pillow',
        ),
        dict(type='CenterCrop', crop_size=size),
        package.labelled(),
    ]


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
    dataset = host.build(DATASETS, ConfigDict(config))
    names = dataset.metainfo.get('classes')
    classes = [str(name) for name in names] if names else [str(i) for i in range(10000)]
    # a generator of its own, or starting the loader would draw from the global one
    loader = DataLoader(
        spread(dataset, limit),
        batch_size,
        collate_fn=default_collate,
        generator=torch.Generator(),
    )
    return loader, classes


def _monitor_sets(cfg: Config) -> dict[str, dict]:
    """The labelled images of the pretraining's ``KNNHook``."""
    for name, hook in hooks(cfg, 'KNNHook'):
        loaders = {split: f'{split}_dataloader' for split in SPLITS}
        for loader in loaders.values():
            option = f'{name}.{loader}'
            check_data(Config({option: hook[loader]}), option)
        return {s: hook[loader].dataset for s, loader in loaders.items()}
    raise ConfigError(
        f'{cfg.filename} has no KNNHook that names labelled images; give '
        f'--data-root FOLDER {_LAYOUT}'
    )


def _folder_sets(cfg: Config, data_root: str, splits: Sequence[str]) -> dict[str, dict]:
    """Images with one folder per class, or in upstream's layout of ImageNet."""
    folders = {'train': 'train', 'test': 'test'}
    if not Path(data_root, 'test').is_dir() and Path(data_root, 'val').is_dir():
        folders['test'] = 'val'
    sets = {}
    for split in splits:
        folder = folders[split]
        images = Path(data_root, folder)
        labels = Path(data_root, 'meta', f'{folder}.txt')  # ImageNet's, val/ being flat
        if not labels.is_file() and not any(images.glob('*/*')):
            raise ConfigError(
                f'{data_root} has no images in {folder}/<class>/; --data-root needs a '
                f'folder {_LAYOUT}'
            )
        ann_file = str(labels) if labels.is_file() else ''
        sets[split] = folder_set(cfg, str(images), ann_file)
    return sets
