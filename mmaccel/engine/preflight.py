"""What can be told to be wrong before anything heavy is built."""

from __future__ import annotations

import inspect
import os
import tempfile
from typing import Iterator

from mmengine.config import Config
from mmengine.device import get_device
from mmselfsup.registry import DATASETS, MODELS

from mmaccel.errors import ConfigError

from .distributed import world_size

#: Folders of images and masks among a dataset's ``data_prefix``.
_PREFIXES = ('', 'img_path', 'img', 'seg_map_path', 'sub_data_root')

#: Algorithms that compare two views of an image, by the name of a class in the MRO.
_TWO_VIEWS = {
    'MoCo', 'MoCoV3', 'DenseCL', 'SimCLR', 'SimSiam', 'BYOL', 'BarlowTwins', 'SwAV'
}  # fmt: skip


def check_training(cfg: Config) -> None:
    """Refuse a training that cannot work, in one sentence that names the remedy.

    Args:
        cfg (Config): The config, with ``work_dir`` and ``launcher`` set.

    Raises:
        ConfigError: If it cannot work.

    Note:
        Creates the work directory.
    """
    for key in ('model', 'train_dataloader', 'train_cfg', 'optim_wrapper'):
        if cfg.get(key) is None:
            raise ConfigError(
                f'{cfg.filename} has no {key}, so it cannot be trained; tools/test.py '
                'evaluates'
            )
    world_size(cfg.get('launcher', 'none'))
    check_work_dir(cfg.work_dir)
    check_data(cfg, 'train_dataloader')
    if cfg.get('val_dataloader'):
        check_data(cfg, 'val_dataloader')
    if cfg.get('default_scope') == 'mmselfsup':
        kind = MODELS.get(cfg.model.type)
        if kind is not None:
            check_queue(cfg, kind)
            check_hook(cfg, kind)
            check_views(cfg, kind)


def check_work_dir(work_dir: str) -> None:
    """Refuse a work directory in which nothing can be written."""
    try:
        os.makedirs(work_dir, exist_ok=True)
        with tempfile.TemporaryFile(dir=work_dir):
            pass
    except OSError as error:
        raise ConfigError(
            f'the work directory {work_dir} cannot be written '
            f'({error.strerror or error}); choose another one with --work-dir'
        ) from error


def check_data(cfg: Config, loader: str) -> None:
    """Refuse data folders and annotation files that are missing or empty.

    Paths on other storage than the local file system are left to the dataset.
    """
    for option, dataset in _datasets(cfg[loader].get('dataset'), f'{loader}.dataset'):
        for key, path in _paths(dataset):
            if '://' in path or _found(path):
                continue
            problem = 'is empty' if os.path.exists(path) else 'does not exist'
            raise ConfigError(
                f'the data of {loader}, {path}, {problem}; set {option}.{key} to where '
                f'yours is, for example with --cfg-options {option}.{key}=PATH'
            )


def check_queue(cfg: Config, kind: type) -> None:
    """Refuse a queue that the batches do not fill evenly (upstream only asserts)."""
    default = _default(kind, 'queue_len')
    loader = cfg.train_dataloader
    batch = loader.get('batch_size')
    if default is None or batch is None:
        return
    queue_len = cfg.model.get('queue_len', default)
    processes = world_size(cfg.get('launcher', 'none'))
    total = batch * processes
    if queue_len % total:
        lower = queue_len // total * total
        values = ' or '.join(str(v) for v in (lower, lower + total) if v > 0)
        raise ConfigError(
            f'queue_len={queue_len} is not a multiple of the total batch {total} '
            f'({batch} images x {processes} process(es)); set model.queue_len={values}'
        )
    if not loader.get('drop_last', False):
        raise ConfigError(
            f'{kind.__name__} needs full batches, since its queue is filled by whole '
            'ones; set train_dataloader.drop_last=True'
        )


def check_hook(cfg: Config, kind: type) -> None:
    """Refuse the hook of an Accel model with another model, before that is built."""
    hooks = [*(cfg.get('custom_hooks') or []), *cfg.get('default_hooks', {}).values()]
    names = {
        str(h.get('type')).rpartition('.')[2] for h in hooks if isinstance(h, dict)
    }
    if 'PartialBackpropHook' in names and not hasattr(kind, 'num_exits'):
        raise ConfigError(
            f'PartialBackpropHook needs an Accel model but model.type is '
            f"{kind.__name__}; use 'AccelMoCo', 'AccelSimCLR' or 'AccelSwAV', or "
            'remove the hook from custom_hooks'
        )


def check_views(cfg: Config, kind: type) -> None:
    """Refuse one view of an image where two are compared."""
    if not _TWO_VIEWS & {base.__name__ for base in kind.__mro__}:
        return
    for option, dataset in _datasets(
        cfg.train_dataloader.dataset, 'train_dataloader.dataset'
    ):
        pipeline = [t for t in dataset.get('pipeline') or () if isinstance(t, dict)]
        if not pipeline:
            continue
        views = 1
        for transform in pipeline:
            name = str(transform.get('type')).rpartition('.')[2]
            if name in ('MultiView', 'LoadViews'):
                number = transform.get('num_views', 1)
                views = number if isinstance(number, int) else sum(number)
        packs = str(pipeline[-1].get('type')).endswith('PackSelfSupInputs')
        if views < 2 and packs:
            raise ConfigError(
                f'the pipeline of {option} gives one view of an image but '
                f"{kind.__name__} compares two; use dict(type='MultiView', "
                'num_views=2, transforms=[...]) in it'
            )


def check_amp(cfg: Config) -> None:
    """Refuse mixed precision where torch's gradient scaler has no device."""
    kind = str(cfg.optim_wrapper.get('type', ''))
    if kind.rpartition('.')[2] == 'AmpOptimWrapper' and get_device() == 'cpu':
        raise ConfigError(
            'mixed precision in fp16 needs a GPU and this machine has none; use '
            '--amp bf16, or leave --amp out'
        )


def _datasets(cfg: object, option: str) -> Iterator[tuple[str, dict]]:
    """Dataset configs inside wrappers, with the option each is set by."""
    if not isinstance(cfg, dict):
        return
    inner = cfg.get('dataset')
    several = cfg.get('datasets')
    if isinstance(inner, dict):
        # options reach the data before it is wrapped
        seeded = str(cfg.get('type')).rpartition('.')[2] == 'SeededDataset'
        yield from _datasets(inner, option if seeded else f'{option}.dataset')
    elif isinstance(several, (list, tuple)):
        for number, one in enumerate(several):
            yield from _datasets(one, f'{option}.datasets.{number}')
    else:
        yield option, cfg


def _paths(dataset: dict) -> Iterator[tuple[str, str]]:
    """Local paths a dataset reads, with the option of each, the root first."""
    root = os.path.expanduser(dataset.get('data_root') or '')
    if root:
        yield 'data_root', root
    kind = str(dataset.get('type'))
    if kind.rpartition('.')[2] == 'UnlabelledFolder':
        prefix = dataset.get('data_prefix') or ''
        if not root:
            prefix = prefix.get('img_path', '') if isinstance(prefix, dict) else prefix
            yield 'data_root', os.path.expanduser(prefix) or '(none given)'
        return
    if dataset.get('download', _default(DATASETS.get(kind), 'download')):
        return  # it fetches what is missing
    ann_file = dataset.get('ann_file')
    if isinstance(ann_file, str) and ann_file:
        yield 'ann_file', os.path.join(root, os.path.expanduser(ann_file))
    prefix = dataset.get('data_prefix') or {}
    prefixes = {'': prefix} if isinstance(prefix, str) else prefix
    for name, folder in prefixes.items():
        if isinstance(folder, str) and folder and name in _PREFIXES:
            path = os.path.join(root, os.path.expanduser(folder))
            yield f'data_prefix.{name}'.rstrip('.'), path


def _found(path: str) -> bool:
    """Whether there is a non-empty file, or a folder with a file somewhere in it."""
    if os.path.isdir(path):
        return any(files for _, _, files in os.walk(path, followlinks=True))
    return os.path.isfile(path) and os.path.getsize(path) > 0


def _default(kind: type | None, name: str) -> object:
    """Default of a constructor's argument, the closest class first."""
    for base in getattr(kind, '__mro__', ()):
        parameter = inspect.signature(base.__init__).parameters.get(name)
        if parameter is not None and parameter.default is not parameter.empty:
            return parameter.default
    return None
