"""What a config says: types, hooks, datasets, pipelines, views.

Pure functions over nested dicts and lists, such as a :class:`mmengine.config.Config`
holds them or a checkpoint carries them.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.registry import Registry

from mmaccel import host

#: Top-level settings that decide, beside the data, what a training results in.
DECISIVE = (
    'model',
    'optim_wrapper',
    'param_scheduler',
    'train_cfg',
    'custom_hooks',
    'fast_views',
)


class Views(NamedTuple):
    """Views of an image that are drawn in one way.

    Attributes:
        number (int): How many.
        size (tuple[int, int], optional): Rows and columns, None if no crop tells.
    """

    number: int
    size: tuple[int, int] | None


def type_name(cfg: Any) -> str:
    """Name of a type, without the package that it is looked up in.

    Args:
        cfg (Any): A part's config, or the type itself: a registered name, with or
            without a scope, or a class.

    Returns:
        str: Such as ``'ResNet'`` for ``'mmcls.ResNet'``; ``''`` where there is none.
    """
    kind = cfg.get('type') if isinstance(cfg, dict) else cfg
    kind = getattr(kind, '__name__', kind)
    return kind.rpartition('.')[2] if isinstance(kind, str) else ''


def dicts(cfg: Any) -> Iterator[dict]:
    """Every dict in nested dicts and lists, the outer ones first."""
    if isinstance(cfg, dict):
        yield cfg
    if isinstance(cfg, (dict, list, tuple)):
        for value in cfg.values() if isinstance(cfg, dict) else cfg:
            yield from dicts(value)


def hooks(cfg: Config | Mapping, name: str | None = None) -> Iterator[tuple[str, dict]]:
    """Hooks of a config, the custom ones first, each with the option it is set by.

    Args:
        cfg (Config or Mapping): The whole config.
        name (str, optional): Type of the hooks wanted. Defaults to all.
    """
    custom = enumerate(cfg.get('custom_hooks') or ())
    default = cfg.get('default_hooks') or {}
    found = {f'custom_hooks.{number}': hook for number, hook in custom}
    found.update((f'default_hooks.{key}', hook) for key, hook in default.items())
    for option, hook in found.items():
        if isinstance(hook, dict) and name in (None, type_name(hook)):
            yield option, hook


def datasets(cfg: Any, option: str = '') -> Iterator[tuple[str, dict]]:
    """Datasets that read, inside whatever wrappers, each with the option it is set by.

    Args:
        cfg (Any): A dataset's config; anything but a dict holds none.
        option (str): The option of ``cfg``, such as ``'train_dataloader.dataset'``.
    """
    if not isinstance(cfg, dict):
        return
    if isinstance(cfg.get('dataset'), dict):
        # options reach the data before SeededDataset wraps it
        seeded = type_name(cfg) == 'SeededDataset'
        yield from datasets(cfg['dataset'], option if seeded else f'{option}.dataset')
    elif isinstance(cfg.get('datasets'), (list, tuple)):
        for number, one in enumerate(cfg['datasets']):
            yield from datasets(one, f'{option}.datasets.{number}')
    else:
        yield option, cfg


def training_set(cfg: Config | Mapping) -> dict:
    """The (first) dataset that a training reads; empty where a config has none."""
    loader = cfg.get('train_dataloader') or {}
    return next((dataset for _, dataset in datasets(loader.get('dataset'))), {})


def pipeline(dataset: Mapping) -> list[dict]:
    """Transforms of a dataset, in their order."""
    return [t for t in dataset.get('pipeline') or () if isinstance(t, dict)]


def views(dataset: Mapping) -> list[Views]:
    """Views that a dataset's pipeline gives of an image.

    Args:
        dataset (Mapping): A dataset that reads (:func:`datasets`).

    Returns:
        list[Views]: One for each of the pipelines in ``MultiView``, or in
        :class:`LoadViews`, which takes its place. One view where there is neither, and
        none without a pipeline.
    """
    transforms = pipeline(dataset)
    for transform in transforms:
        if type_name(transform) in ('MultiView', 'LoadViews'):
            numbers = transform.get('num_views', 1)
            numbers = [numbers] if isinstance(numbers, int) else numbers
            sizes = [_crop_size(view) for view in transform.get('transforms') or ()]
            return [Views(*one) for one in zip(numbers, sizes)]
    return [Views(1, _crop_size(transforms))] if transforms else []


def image_channels(cfg: Config | Mapping) -> int:
    """Channels of the images that a config's backbone takes."""
    backbone = (cfg.get('model') or {}).get('backbone') or {}
    return backbone.get('in_channels', 3)


def image_loader(cfg: Config | Mapping) -> dict:
    """Transform that reads an image file with the channels the backbone takes."""
    color = 'grayscale' if image_channels(cfg) == 1 else 'color'
    loader = dict(type='LoadCheckedImage', color_type=color)
    for transform in pipeline(training_set(cfg)):
        if transform.get('value_range') is not None:  # what black and white are
            loader['value_range'] = transform['value_range']
    return loader


def is_pretraining(cfg: Config | Mapping) -> bool:
    """Whether a config is a host's pretraining; those of others keep their parts.

    MMSelfSup does nothing else but pretrain and evaluate. MMPretrain also classifies,
    retrieves and captions: there a pretraining is what reads several views of an image
    or has an Accel model.
    """
    package = host.named(cfg.get('default_scope'))
    if package is None or cfg.get('default_scope') != package.name:
        return False
    if package is host.MMSELFSUP:
        return True
    model = type_name(cfg.get('model') or {})
    found = views(training_set(cfg))
    return model.startswith('Accel') or sum(view.number for view in found) > 1


def class_of(cfg: Mapping, registry: Registry) -> type | None:
    """Class that a part's config names, None where nothing of that name is known."""
    kind = cfg.get('type')
    return host.find(registry, kind) if isinstance(kind, str) else kind


def argument(kind: Callable | None, name: str) -> inspect.Parameter | None:
    """An argument of a class's constructor or of those it hands its own on to.

    Args:
        kind (Callable, optional): The class, or a function; None has no arguments.
        name (str): The argument's name.

    Returns:
        inspect.Parameter, optional: That of the closest class which names it.
    """
    functions = [base.__init__ for base in getattr(kind, '__mro__', ())]
    for function in functions or [kind] * (kind is not None):
        found = inspect.signature(function).parameters.get(name)
        if found is not None:
            return found
    return None


def _crop_size(transforms: Any) -> tuple[int, int] | None:
    for transform in transforms or ():
        if 'Crop' in type_name(transform):
            size = transform.get('size', transform.get('scale'))
            if size is not None:
                return (size, size) if isinstance(size, int) else tuple(size)
    return None
