"""What can be told to be wrong before anything heavy is built."""

import os
import tempfile
from collections.abc import Iterator
from typing import Any

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import DATASETS, MODELS

from mmaccel import host
from mmaccel.errors import ConfigError
from mmaccel.fileio import unread_images
from mmaccel.models.utils import checks

from . import config_reader
from .config_reader import class_of, datasets, is_pretraining, type_name
from .distributed import world_size

#: Folders of images and masks among a dataset's ``data_prefix``.
_PREFIXES = ('', 'img_path', 'img', 'seg_map_path', 'sub_data_root')

#: Transforms that end a pretraining's pipeline.
_PACKS = tuple(one.pack for one in host.HOSTS)

#: Algorithms that compare two views of an image, by the name of a class in the MRO.
_TWO_VIEWS = {
    'MoCo', 'MoCoV3', 'DenseCL', 'SimCLR', 'SimSiam', 'BYOL', 'BarlowTwins', 'SwAV',
    'AccelMoCo', 'AccelSimCLR', 'AccelSwAV',
}  # fmt: skip


def check_training(cfg: Config) -> None:
    """Reject a training that cannot work, in one sentence that names the remedy.

    Args:
        cfg (Config): The config, with ``work_dir`` and ``launcher`` set.

    Raises:
        ConfigError: If it cannot work.

    Note:
        Creates the folders of results and checkpoints.
    """
    for key in ('model', 'train_dataloader', 'train_cfg', 'optim_wrapper'):
        if cfg.get(key) is None:
            raise ConfigError(
                f'{cfg.filename} has no {key}, so it cannot be trained; tools/test.py '
                'evaluates'
            )
    if cfg.train_dataloader.get('dataset') is None:
        raise ConfigError(
            f'train_dataloader.dataset is missing in {cfg.filename}; give a dict'
        )
    world_size(cfg.get('launcher', 'none'))
    check_writable(cfg.work_dir)
    option = 'default_hooks.checkpoint.out_dir'
    folder = (cfg.get('default_hooks', {}).get('checkpoint') or {}).get('out_dir')
    if folder and '://' not in str(folder):
        check_writable(folder, option, option)
    for loader in ('train_dataloader', 'val_dataloader'):
        if cfg.get(loader):
            check_data(cfg, loader)
    check_amp(cfg)
    with host.scope(cfg):
        kind = class_of(cfg.model, MODELS)
        if is_pretraining(cfg) and kind is not None:
            for check in _PRETRAINING:
                check(cfg, kind)


def check_writable(
    folder: str, what: str = 'the work directory', option: str = '--work-dir'
) -> None:
    """Reject a folder in which nothing can be written."""
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(
            f'{what} {folder} cannot be written ({error.strerror or error}); choose '
            f'another one with {option}'
        ) from error


def check_data(cfg: Config, loader: str) -> None:
    """Reject data folders and annotation files that are missing or empty.

    Paths on other storage than the local file system are left to the dataset.
    """
    for option, dataset in datasets(cfg[loader].get('dataset'), f'{loader}.dataset'):
        for key, path in _paths(dataset):
            if '://' in path or _found(path):
                continue
            problem = 'is empty' if os.path.exists(path) else 'does not exist'
            raise ConfigError(
                f'the data of {loader}, {path}, {problem}; set {option}.{key} to where '
                f'yours is, for example with --cfg-options {option}.{key}=PATH'
            )
        check_labels(dataset)


def check_labels(dataset: dict) -> None:
    """Reject labels that mmcls cannot read, or that would give wrong figures.

    Args:
        dataset (dict): Config of a dataset; only ``CustomDataset`` and ``ImageNet``
            are looked at.

    Raises:
        ConfigError: Naming the list and its line, or the folder.

    Note:
        Reads the names of all files of a folder.
    """
    if type_name(dataset) not in ('CustomDataset', 'ImageNet'):
        return
    paths = {key: path for key, path in _paths(dataset) if '://' not in path}
    if 'ann_file' in paths:
        _check_list(paths['ann_file'])
    elif not dataset.get('ann_file') and 'data_prefix' in paths:
        _check_classes(paths['data_prefix'])


def _check_classes(folder: str) -> None:
    """Reject a folder of classes that is not read as a whole."""
    classes = []
    for entry in sorted(os.listdir(folder)):
        path = os.path.join(folder, entry)
        if os.path.isdir(path):
            if entry.startswith('.'):
                raise ConfigError(f'the hidden folder {path} would be a class; move it')
            classes.append(entry)
    if len(classes) == 1:
        raise ConfigError(
            f'{folder} has one class, {classes[0]}, so that every answer is right; it '
            'needs a sub-folder for each of two classes or more'
        )
    unread = unread_images(folder)
    if unread:
        endings = ', '.join(f'{number} {ending}' for ending, number in unread.items())
        raise ConfigError(
            f'{folder} has images that are not read ({endings}); convert them, to .png '
            'for example, or move them'
        )


def _check_list(path: str) -> None:
    try:
        with open(path, encoding='utf-8') as file:
            lines = file.read().splitlines()
    except UnicodeDecodeError as error:
        raise ConfigError(f'{path} is not text in UTF-8; convert it') from error
    if not lines:
        raise ConfigError(f'{path} is empty; it needs a file name and a label a line')
    if lines[0].startswith('\ufeff'):
        raise ConfigError(f'{path} begins with a byte-order mark; save it without')
    first: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        name, _, label = line.strip().rpartition(' ')
        if not name or not label.isdecimal():
            raise ConfigError(
                f'{path}, line {number}: {line[:80]!r} is not a file name, a space and '
                'a label, which is a number from 0'
            )
        if first.setdefault(name, number) < number:
            raise ConfigError(
                f'{path}, line {number}: {name} is there already, in line '
                f'{first[name]}, and would count twice'
            )


def check_amp(cfg: Config) -> None:
    """Reject mixed precision where torch's gradient scaler has no device."""
    if type_name(cfg.optim_wrapper) == 'AmpOptimWrapper' and get_device() == 'cpu':
        raise ConfigError(
            'mixed precision in fp16 needs a GPU and this machine has none; use '
            '--amp bf16, or leave --amp out'
        )


def check_queue(cfg: Config, kind: type) -> None:
    """Reject a queue that the batches do not fill evenly."""
    default = _default(kind, 'queue_len')
    loader = cfg.train_dataloader
    batch = loader.get('batch_size')
    if default is None or batch is None:
        return
    processes = world_size(cfg.get('launcher', 'none'))
    checks.check_queue_len(cfg.model.get('queue_len', default), batch, processes)
    if not loader.get('drop_last', False):
        raise ConfigError(
            f'{kind.__name__} needs full batches, since only these fill its queue '
            'evenly; set train_dataloader.drop_last=True'
        )


def check_sampler(cfg: Config, kind: type) -> None:
    """Reject a sampler without an end where epochs are counted."""
    sampler = type_name(cfg.train_dataloader.get('sampler'))
    if sampler in ('InfiniteSampler', 'EndlessSampler') and 'Iter' not in type_name(
        cfg.train_cfg
    ):
        raise ConfigError(
            'train_dataloader.sampler=InfiniteSampler never ends an epoch; use '
            'DefaultSampler, or train_cfg.type=IterBasedTrainLoop with max_iters'
        )


def check_negatives(cfg: Config, kind: type) -> None:
    """Reject a SimCLR batch of one image, whose loss is always 0."""
    images = cfg.train_dataloader.get('batch_size') or 0
    if 'SimCLR' in type_name(kind) and images * world_size(cfg.launcher) == 1:
        raise ConfigError(
            'train_dataloader.batch_size=1 has no negatives for '
            f'{kind.__name__}; raise it'
        )


def check_hook(cfg: Config, kind: type) -> None:
    """Reject the hook of an Accel model with another model, and two of them."""
    options = [option for option, _ in config_reader.hooks(cfg, 'PartialBackpropHook')]
    if options:
        checks.check_has_exits(kind)
    if len(options) > 1:
        raise ConfigError(
            f'{" and ".join(options)} are PartialBackpropHooks and the last would win; '
            'keep one'
        )


def check_parts(cfg: Config, kind: type) -> None:
    """Reject a model without a part that its loss needs, and vectors of two lengths."""
    if not _TWO_VIEWS & {base.__name__ for base in kind.__mro__}:
        return
    for name in ('backbone', 'neck', 'head'):
        if config_reader.argument(kind, name) and cfg.model.get(name) is None:
            raise ConfigError(
                f'model.{name} is missing, and {kind.__name__} needs it; give a dict, '
                f"such as upstream's config of {kind.__name__} has"
            )
    loss = cfg.model.head.get('loss') or {}
    given = class_of(cfg.model.neck, MODELS)
    vectors = cfg.model.neck.get('out_channels', _default(given, 'out_channels'))
    places: dict[str, tuple[dict, type | None]] = {'model': (cfg.model, kind)}
    if isinstance(loss, dict):
        places['model.head.loss'] = (loss, class_of(loss, MODELS))
    for place, (part, owner) in places.items():
        wanted = part.get('feat_dim', _default(owner, 'feat_dim'))
        if None not in (wanted, vectors) and wanted != vectors:
            raise ConfigError(
                f'{place}.feat_dim={wanted} but the neck gives vectors of {vectors}; '
                f'set {place}.feat_dim={vectors}, or model.neck.out_channels={wanted}'
            )


def check_assigned_views(cfg: Config, kind: type) -> None:
    """Reject SwAV's assigned views that no pipeline gives."""
    loss = cfg.model.get('head', {}).get('loss') or {}
    assigned = loss.get('crops_for_assign')
    crops = loss.get('num_crops')
    if assigned is None or not crops:
        return
    views = sum(crops)
    if any(not 0 <= view < views for view in assigned):
        raise ConfigError(
            f'model.head.loss.crops_for_assign={list(assigned)} names a view that '
            f'num_crops={list(crops)} does not have; views count from 0 to '
            f'{views - 1}'
        )


def check_views(cfg: Config, kind: type) -> None:
    """Reject one view of an image where two are compared, and unused ones.

    Accel-MoCo and Accel-SimCLR take further, smaller views (multi-crop); upstream's
    classes would drop or refuse them.
    """
    if not _TWO_VIEWS & {base.__name__ for base in kind.__mro__}:
        return
    option = 'train_dataloader.dataset'
    for place, dataset in datasets(cfg.train_dataloader.dataset, option):
        pipeline = config_reader.pipeline(dataset)
        sizes = [v.size for v in config_reader.views(dataset) for _ in range(v.number)]
        if not pipeline or type_name(pipeline[-1]) not in _PACKS:
            continue
        if len(sizes) < 2 or kind.__name__ in ('MoCo', 'SimCLR'):
            checks.check_views(len(sizes), 2, place)
        elif hasattr(kind, 'two_sizes'):
            checks.check_pair(sizes, place)
            layer = class_of(cfg.model.get('crop_layer') or {}, MODELS)
            if len(sizes) > 2 and layer is not None:
                checks.check_keeps_images(layer, f'{kind.__name__} with multi-crop')


#: What is asked of a pretraining, given its config and its model's class.
_PRETRAINING = (
    check_parts,
    check_queue,
    check_sampler,
    check_negatives,
    check_hook,
    check_views,
    check_assigned_views,
)


def _paths(dataset: dict) -> Iterator[tuple[str, str]]:
    """Local paths a dataset reads, with the option of each, the root first."""
    root = os.path.expanduser(dataset.get('data_root') or '')
    if root:
        yield 'data_root', root
    if type_name(dataset) == 'UnlabelledFolder':
        prefix = dataset.get('data_prefix') or ''
        if not root:
            prefix = prefix.get('img_path', '') if isinstance(prefix, dict) else prefix
            yield 'data_root', os.path.expanduser(prefix) or '(none given)'
        return
    if dataset.get('download', _default(class_of(dataset, DATASETS), 'download')):
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


def _default(kind: type | None, name: str) -> Any:
    """Default of a constructor's argument."""
    found = config_reader.argument(kind, name)
    return None if found is None or found.default is found.empty else found.default
