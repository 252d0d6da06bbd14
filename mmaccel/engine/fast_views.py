"""``fast_views = True``: a config's augmentations, moved to the training device."""

import importlib.util

from mmengine.config import Config, ConfigDict
from mmengine.device import get_device

from mmaccel import host
from mmaccel.errors import ConfigError
from mmaccel.models.preprocessors.sample_params import build_known

from .config_reader import datasets, pipeline, type_name

_KEYS = ('type', '_scope_')
_LOADERS = ('LoadImageFromFile', 'LoadCheckedImage')
#: What a :class:`ViewPreprocessor` can take the place of.
_PREPROCESSORS = (
    'SelfSupDataPreprocessor',
    'AccelDataPreprocessor',
    'ViewPreprocessor',
)
_OFF = 'or set fast_views=False'


def use_fast_views(cfg: Config) -> None:
    """Split a config's pipeline between loader workers and the training device.

    ``LoadImageFromFile`` and ``MultiView`` become :class:`LoadViews`, which decodes,
    crops and resizes; what follows the crops moves, as it is, into the model's data
    preprocessor, which becomes a :class:`ViewPreprocessor`. A config that was split
    before, or does not ask for it, is left as it is.

    Args:
        cfg (Config): A pretraining config, changed in place.

    Raises:
        ConfigError: If the pipeline has a part that cannot be split, naming it; if the
            device needs kornia and there is none; or if it is to be undone.
    """
    if 'fast_views' not in cfg or 'train_dataloader' not in cfg:
        return
    found = [dataset for _, dataset in datasets(cfg.train_dataloader.dataset)]
    split = any(type_name(t) == 'LoadViews' for d in found for t in pipeline(d))
    if split and not cfg.fast_views:
        raise ConfigError(
            'fast_views=False cannot undo what an earlier run split; start from the '
            'config which that run was given, not from the one it wrote'
        )
    if split or not cfg.fast_views:
        return
    if len(found) != 1 or 'pipeline' not in found[0]:
        problem = f'{len(found)} datasets' if len(found) > 1 else 'no pipeline'
        raise ConfigError(
            f'fast_views finds {problem} in train_dataloader.dataset; give one dataset '
            f'with a pipeline, {_OFF}'
        )
    if get_device() != 'cpu' and importlib.util.find_spec('kornia') is None:
        raise ConfigError(
            f'fast_views on a GPU needs kornia; `pip install kornia`, {_OFF}'
        )
    _move(cfg, _split(found[0]))


def _split(dataset: dict) -> ConfigDict:
    """Shorten a dataset's pipeline; return what was cut off of `MultiView`."""
    transforms = list(dataset['pipeline'])
    load: dict = {}
    if transforms and type_name(transforms[0]) in _LOADERS:
        load = transforms.pop(0)
    if not transforms or type_name(transforms[0]) != 'MultiView':
        found = type_name(transforms[0]) if transforms else 'the end'
        raise ConfigError(
            f'fast_views needs MultiView right after {_LOADERS[0]} and finds {found}; '
            f'move or remove it, {_OFF}'
        )
    if load.get('to_float32'):
        raise ConfigError(f'fast_views works on 8 bits; remove to_float32, {_OFF}')
    multi = transforms.pop(0)
    for view in multi['transforms']:
        if (
            not view
            or type_name(view[0]) != 'RandomResizedCrop'
            or not _is_upstreams(view[0])
        ):
            raise ConfigError(
                'fast_views needs RandomResizedCrop first in a view and finds '
                f'{view[0]["type"] if view else "nothing"}; reorder the view, {_OFF}'
            )
        build_known(view[1:])  # refuses what it does not know
    loader = ConfigDict(
        _arguments(load),
        type='LoadViews',
        num_views=multi['num_views'],
        transforms=[view[:1] for view in multi['transforms']],
    )
    dataset['pipeline'] = [loader, *transforms]
    return ConfigDict(
        num_views=multi['num_views'],
        transforms=[view[1:] for view in multi['transforms']],
    )


def _move(cfg: Config, views: ConfigDict) -> None:
    """Give the model a preprocessor that does what the workers no longer do."""
    preprocessor = cfg.model.get('data_preprocessor') or ConfigDict()
    name = type_name(preprocessor) or 'SelfSupDataPreprocessor'
    if name not in _PREPROCESSORS:
        raise ConfigError(
            f'fast_views cannot take the place of model.data_preprocessor {name}; use '
            f'SelfSupDataPreprocessor, {_OFF}'
        )
    preprocessor.update(views, type='ViewPreprocessor')
    preprocessor.pop('_scope_', None)
    cfg.model['data_preprocessor'] = preprocessor


def _arguments(transform: dict) -> dict:
    return {key: value for key, value in transform.items() if key not in _KEYS}


def _is_upstreams(transform: dict) -> bool:
    kind = transform['type']
    package = kind.rpartition('.')[0] if isinstance(kind, str) else kind.__module__
    return package.partition('.')[0] in ('', *(one.name for one in host.HOSTS))
