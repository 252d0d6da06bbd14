"""From a user's config to one that resumes exactly and fits the machine."""

import importlib.util
import logging
import os
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.utils import get_installed_path

from mmaccel import host
from mmaccel.compat.package_configs import CONFIG_ROOTS, own_config
from mmaccel.errors import ConfigError
from mmaccel.fileio import IMAGE_EXTENSIONS

from . import config_reader
from .config_reader import dicts, is_pretraining, type_name
from .distributed import local_world_size
from .fast_views import use_fast_views

#: Scopes whose names are the hosts' own.
_SCOPES = (None, *(one.name for one in host.HOSTS))
_CPU_WRAPPER = 'CPUDistributedDataParallel'
_HOOKS = (
    'ThroughputHook',
    'StepSeedHook',
    'InvalidLossHook',
    'BadSampleHook',
    'CurvesHook',
    'StuckLossHook',
    'KeyAgeHook',
    'InterruptHook',
)
#: Hooks that the runner registers unless a config sets them to None.
_RUNNER_HOOKS = (
    'runtime_info',
    'timer',
    'sampler_seed',
    'logger',
    'param_scheduler',
    'checkpoint',
)


def load_config(path: str, options: dict | None = None) -> Config:
    """Read a config and apply ``--cfg-options``.

    Args:
        path (str): The config file, or ``package::path`` for one that an installed
            package carries, as in ``_base_``.
        options (dict, optional): Overrides, ``{'a.b': value}``.

    Raises:
        ConfigError: If there is no such file, it is no config, or an option does not
            fit it.
    """
    if '::' in path:
        path = _packaged_config(*path.split('::', 1))
    else:  # a config of ours names its baseline from where configs/ is
        places = [Path(), *CONFIG_ROOTS]
        path = next((str(p / path) for p in places if (p / path).is_file()), path)
    if not os.path.isfile(path):
        raise ConfigError(f'there is no config file {path}')
    if Path(path).suffix not in ('.py', '.json', '.yaml', '.yml'):
        raise ConfigError(f'{path} is no config file; name one that ends with .py')
    try:
        cfg = Config.fromfile(path)
    except Exception as error:  # a config is a program
        raise ConfigError(
            f'{path} cannot be read as a config: {type(error).__name__}: {error}'
        ) from error
    try:
        cfg.merge_from_dict(options or {})
    except Exception as error:
        raise ConfigError(
            f'--cfg-options {", ".join(options or ())} do not fit {path}: {error}'
        ) from error
    return cfg


def _packaged_config(package: str, inside: str) -> str:
    """Name the file that an installed package carries under this name."""
    try:
        if package == 'mmaccel':
            return own_config(inside)
        return os.path.join(get_installed_path(package), '.mim', 'configs', inside)
    except FileNotFoundError as error:
        raise ConfigError(f'there is no config file: {error}') from error
    except Exception as error:  # setuptools' or importlib's, by version
        raise ConfigError(
            f'{package}::{inside} is not there: the package {package!r} is not '
            'installed'
        ) from error


def set_work_dir(cfg: Config, work_dir: str | None = None) -> None:
    """Decide where results go: argument, else config, else ``./work_dirs/<name>``.

    The curves go there too, not to a folder per run, so that a resumed run continues
    them.
    """
    before = cfg.get('work_dir')
    stem = Path(cfg.filename).stem if cfg.filename else 'run'
    cfg.work_dir = work_dir or before or os.path.join('work_dirs', stem)
    visualizer = cfg.get('visualizer')
    if isinstance(visualizer, dict) and visualizer.get('save_dir') in (None, before):
        visualizer['save_dir'] = cfg.work_dir


def prepare_config(cfg: Config) -> Config:
    """Give a config what mmaccel adds to every training.

    Pretraining configs of MMSelfSup, upstream's own included, get a data order and
    augmentations that depend on seed and position alone, a loop that resumes within an
    epoch, safe checkpoints, checks of images and loss, the log of time, speed and
    memory, and TensorBoard; with
    ``fast_views = True`` their augmentations move to the training device. Those of
    other packages keep their parts. All get what the machine needs: a backend it has
    and loader workers it can run. The result is what the dumped config shows;
    preparing it again changes nothing.

    Args:
        cfg (Config): The config, changed in place.

    Returns:
        Config: The same.
    """
    with host.scope(cfg):
        _prepare(cfg)
    return cfg


def _prepare(cfg: Config) -> None:
    for name in ('default_hooks', 'visualizer', 'env_cfg', 'custom_imports'):
        if cfg.get(name, ()) is None:  # its default, as where it is left out
            cfg.pop(name)
    for name in [n for n, value in cfg.get('env_cfg', {}).items() if value is None]:
        cfg.env_cfg.pop(name)
    if is_pretraining(cfg):
        _import_mmaccel(cfg)
        _use_safe_hooks(cfg)
        _use_log_line(cfg)
        _use_tensorboard(cfg)
        if (cfg.get('train_dataloader') or {}).get('dataset'):
            use_fast_views(cfg)
            use_checked_files(cfg.train_dataloader.dataset)
            _use_seeded_data(cfg)
            if get_device() != 'cpu':  # else the host waits for each copy of images
                cfg.train_dataloader.setdefault('pin_memory', True)
        for _, hook in config_reader.hooks(cfg, 'KNNHook'):
            use_checked_files(hook)
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        if isinstance(cfg.get(name), dict):
            _fit_workers(cfg, name)
    _fit_launcher(cfg)


def _import_mmaccel(cfg: Config) -> None:
    """Let the dumped config run with upstream's tools, too."""
    imports = cfg.setdefault('custom_imports', ConfigDict(imports=[]))
    names = imports.get('imports') or []
    names = [names] if isinstance(names, str) else list(names)
    if 'mmaccel' not in names:
        imports['imports'] = [*names, 'mmaccel']
        imports.setdefault('allow_failed_imports', False)


def _use_safe_hooks(cfg: Config) -> None:
    defaults = cfg.setdefault('default_hooks', ConfigDict())
    for name in [n for n, hook in defaults.items() if hook is None]:
        if name not in _RUNNER_HOOKS:  # switched off; the runner drops its own
            defaults.pop(name)
    checkpoint = defaults.setdefault(
        'checkpoint', ConfigDict(type='CheckpointHook', interval=1)
    )
    if checkpoint is not None:
        _swap(checkpoint, 'CheckpointHook', 'SafeCheckpointHook')
    hooks = list(cfg.get('custom_hooks') or [])
    present = {type_name(hook) for _, hook in config_reader.hooks(cfg)}
    hooks += [ConfigDict(type=name) for name in _HOOKS if name not in present]
    cfg.custom_hooks = hooks


def _use_log_line(cfg: Config) -> None:
    """Log images per second, the wait for data, memory and training time."""
    processor = cfg.setdefault('log_processor', ConfigDict())
    if 'type' not in processor:
        processor['type'] = 'LogProcessor'
    _swap(processor, 'LogProcessor', 'AccelLogProcessor')


def _use_tensorboard(cfg: Config) -> None:
    visualizer = cfg.setdefault(
        'visualizer', ConfigDict(type=host.of(cfg).visualizer, name='visualizer')
    )
    if visualizer.get('save_dir') is None and 'work_dir' in cfg:
        visualizer['save_dir'] = cfg.work_dir
    if visualizer.get('vis_backends') is None:
        visualizer['vis_backends'] = [ConfigDict(type='LocalVisBackend')]
    backends = visualizer['vis_backends']
    present = {type_name(backend) for backend in backends}
    if 'TensorboardVisBackend' in present:
        return
    if importlib.util.find_spec('tensorboard') is None:
        _warn('TensorBoard is not installed; `pip install tensorboard` to get curves')
        return
    backends.append(ConfigDict(type='TensorboardVisBackend'))


def use_checked_files(cfg: Any) -> None:
    """Let datasets check their files, and take every image of a labelled folder.

    mmcls's ``CustomDataset`` knows fewer endings than :class:`UnlabelledFolder`, and
    leaves out the other files without a word.

    Args:
        cfg (Any): Anything with datasets in it, changed in place.
    """
    for node in dicts(cfg):
        _swap(node, 'LoadImageFromFile', 'LoadCheckedImage')
        if type_name(node) == 'CustomDataset' and not node.get('ann_file'):
            node.setdefault('extensions', IMAGE_EXTENSIONS)


def _use_seeded_data(cfg: Config) -> None:
    """Make order and augmentations a function of seed, epoch and index."""
    loader = cfg.train_dataloader
    if type_name(loader.dataset) == 'SeededDataset':
        # options meant for the data, given with a config that was prepared before
        for key in set(loader.dataset) - {'type', '_scope_', 'dataset', 'max_tries'}:
            loader.dataset.dataset[key] = loader.dataset.pop(key)
    else:
        loader.dataset = ConfigDict(type='SeededDataset', dataset=loader.dataset)
    if isinstance(loader.get('sampler'), dict):
        _swap(loader.sampler, 'DefaultSampler', 'EpochSampler')
        _swap(loader.sampler, 'InfiniteSampler', 'EndlessSampler')
    loop = cfg.get('train_cfg')
    if isinstance(loop, dict):
        if 'type' not in loop and loop.get('by_epoch', False):
            loop.pop('by_epoch')
            loop['type'] = 'EpochBasedTrainLoop'
        _swap(loop, 'EpochBasedTrainLoop', 'ResumableTrainLoop')


def _fit_workers(cfg: Config, name: str) -> None:
    """Lower a number of workers that no machine serves; drop options without them."""
    loader = cfg[name]
    processes = local_world_size(cfg.get('launcher', 'none'))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else 0
    cores = cores or os.cpu_count() or 1
    workers = loader.get('num_workers', 0)
    fitting = max(cores // processes, 1)
    if workers * processes > 2 * cores and workers > fitting:
        _warn(
            f'{name}.num_workers={workers} for {processes} process(es) on {cores} '
            f'core(s) is lowered to {fitting}'
        )
        loader['num_workers'] = workers = fitting
    if workers > 0 and is_pretraining(cfg):
        loader.setdefault('worker_init_fn', ConfigDict(type='init_loader_worker'))
    if workers == 0:
        loader.pop('worker_init_fn', None)
        loader.pop('prefetch_factor', None)
        if loader.get('persistent_workers'):
            loader['persistent_workers'] = False


def _fit_launcher(cfg: Config) -> None:
    """Choose a backend and a model wrapper that the machine can run."""
    dist_cfg = cfg.setdefault('env_cfg', ConfigDict()).setdefault(
        'dist_cfg', ConfigDict(backend='nccl')
    )
    wrapper = cfg.get('model_wrapper_cfg')
    if wrapper and isinstance(wrapper.get('type'), type):  # mmengine asks for a name
        kind = wrapper['type']
        wrapper['type'] = f'{kind.__module__}.{kind.__qualname__}'
    if get_device() != 'cpu':
        if type_name(wrapper) == 'CPUDistributedDataParallel':  # prepared elsewhere
            cfg.pop('model_wrapper_cfg')
            dist_cfg['backend'] = 'nccl'
        return
    if dist_cfg.get('backend', 'nccl') == 'nccl':
        dist_cfg['backend'] = 'gloo'
    if cfg.get('launcher', 'none') == 'none':
        return  # mmengine turns SyncBN into BN itself
    for node in dicts(cfg.get('model')):
        if type_name(node) in ('SyncBN', 'SyncBatchNorm'):
            node['type'] = 'BN'  # torch synchronises it on GPUs only
    if wrapper is None:
        cfg.model_wrapper_cfg = ConfigDict(
            type=_CPU_WRAPPER,
            broadcast_buffers=False,
            find_unused_parameters=cfg.get('find_unused_parameters', False),
        )
    elif type_name(wrapper) in ('MMDistributedDataParallel', ''):
        wrapper['type'] = _CPU_WRAPPER


def _swap(cfg: Any, old: str, new: str) -> None:
    """Replace a part's type, whichever package the config names it from."""
    if type_name(cfg) == old and cfg.get('_scope_') in _SCOPES:
        cfg['type'] = new


def _warn(message: str) -> None:
    print_log(message, logger='current', level=logging.WARNING)
