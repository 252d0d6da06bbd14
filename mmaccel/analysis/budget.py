"""How long a config and its presets take on this machine, and what fits into hours."""

import copy
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope

from mmaccel import host
from mmaccel.engine.config import prepare_config
from mmaccel.engine.config_reader import pipeline, training_set, views
from mmaccel.errors import ConfigError
from mmaccel.evaluation.recipe import read_recipe

from .device import device_name
from .evidence import PUBLISHED, evidence_of
from .loading import LoadingRunner
from .measure import MedianRange, Timed, time_steps
from .step import StepRunner

#: What the names of a config's siblings end with.
SUFFIXES = ('exact', 'freeze', 'best')
_IMAGENET = 1_281_167
_LOADER_SHARE = 0.3  # of the time that is spent measuring
_LOADER_ROUNDS = 3


class Preset(NamedTuple):
    """A way to train: its name in the table, its config's name, and the config."""

    name: str
    path: str
    cfg: Config


class Loading(NamedTuple):
    """What the loader of one process delivers once its workers run.

    ``wall``: seconds between batches; ``cpu``: seconds of processor time per batch;
    ``rate``: views per second.
    """

    wall: float
    cpu: float
    rate: float
    workers: int


def find_presets(path: str, cfg: Config, read: Callable[[str], Config]) -> list[Preset]:
    """The baseline that a config names, itself and its siblings.

    Args:
        path (str): The config's name.
        cfg (Config): The config, read from a file.
        read (Callable): Reads the baseline or a sibling; these lie beside the config
            and have its name with ``-exact``, ``-freeze``, ``-best`` or none of them.
    """
    file = Path(cfg.filename)
    stem = file.stem
    for suffix in SUFFIXES:
        stem = stem.removesuffix(f'-{suffix}')
    presets = []
    if cfg.get('baseline'):
        presets.append(Preset('baseline', cfg.baseline, read(cfg.baseline)))
    for suffix in ('', *SUFFIXES):
        sibling = file.with_name(f'{stem}-{suffix}.py' if suffix else f'{stem}.py')
        if sibling == file or sibling.is_file():
            name = path if sibling == file else str(sibling)
            one = cfg if sibling == file else read(name)
            presets.append(Preset(suffix or _plain_name(one), name, one))
    return presets


def budget_report(
    path: str,
    cfg: Config,
    read: Callable[[str], Config],
    hours: float,
    gpus: int = 1,
    device: str = 'cpu',
    batch_size: int | None = None,
    images: str | None = None,
    seconds: float = 60.0,
) -> dict:
    """Measure steps and loader: what ``mmaccel budget`` prints.

    Args:
        path (str): The config's name in the report.
        cfg (Config): A pretraining config, read from a file.
        read (Callable): Reads its baseline or a sibling.
        hours (float): Time that training may take, > 0.
        gpus (int): Processes of a data-parallel training, each with a batch.
            Defaults to 1.
        device (str): Torch device. Defaults to ``'cpu'``.
        batch_size (int, optional): Images per device and step. Defaults to each
            config's.
        images (str, optional): Folder to measure the loader on in place of the
            config's data.
        seconds (float): About how long to measure. One round of all steps is measured
            after one that warms up, however long they take. Defaults to 60.

    Raises:
        ConfigError: If the number of images or of epochs is not known.
    """
    init_default_scope(host.default_scope(cfg))
    presets = find_presets(path, cfg, read)
    number, source = _images_per_epoch(cfg, images)
    for preset in presets:
        preset.cfg.train_dataloader.num_workers = _workers(preset.cfg, gpus)
        if batch_size:
            preset.cfg.train_dataloader.batch_size = batch_size
        _epochs(preset)  # known before minutes are spent
    steps = time_presets(presets, device, seconds=seconds * (1 - _LOADER_SHARE))
    loading = _time_loaders(presets, device, images, seconds * _LOADER_SHARE)
    cores = _cores()
    rows = []
    for preset, times in zip(presets, steps):
        loader = preset.cfg.train_dataloader
        step = MedianRange(times)
        load = loading[_key(preset)]
        per_step, limit = step['median'], None
        if load is not None:
            per_step, limit = _with_loading(step['median'], load, device, cores)
        updates = number / (loader.batch_size * gpus)
        whole = math.floor if loader.get('drop_last') else math.ceil
        steps_per_epoch = max(whole(updates), 1)
        epoch = per_step * steps_per_epoch / 3600
        rows.append(
            dict(
                name=preset.name,
                config=preset.path,
                batch_size=loader.batch_size,
                n=len(times),
                seconds_per_step=step,
                seconds_per_step_with_loading=float(f'{per_step:.6g}'),
                limit=limit,
                views_per_second_needed=round(
                    loader.batch_size * _views(preset) / step['median'], 1
                ),
                loader=None if load is None else load._asdict(),
                epochs=_epochs(preset),
                steps_per_epoch=steps_per_epoch,
                hours=float(f'{epoch * _epochs(preset):.6g}'),
                epochs_in_time=float(f'{hours / epoch:.6g}'),
                evidence=evidence_of(preset.cfg),
            )
        )
    return dict(
        device=device_name(device),
        torch=torch.__version__,
        config=path,
        gpus=gpus,
        hours_given=hours,
        images_per_epoch=number,
        images_from=source,
        cores=cores,
        presets=rows,
    )


def _plain_name(cfg: Config) -> str:
    recipe = read_recipe(cfg)
    return 'paper' if recipe is not None and recipe.variant == PUBLISHED else 'config'


def time_presets(
    presets: list[Preset],
    device: str,
    batch_size: int | None = None,
    rounds: int = 1,
    seconds: float = 0.0,
) -> list[list[float]]:
    """Seconds per step of each preset, expected over what an update may do, by round.

    All variants of all presets run in turn, after a round that warms up.

    Args:
        presets (list[Preset]): What to time.
        device (str): Torch device.
        batch_size (int, optional): Images per step. Defaults to each config's.
        rounds (int): How many at least, > 0. Defaults to 1.
        seconds (float): How long to go on. Defaults to 0.
    """
    start = time.perf_counter()
    runners = []
    for preset in presets:
        cfg = prepare_config(copy.deepcopy(preset.cfg))
        images = batch_size or cfg.train_dataloader.batch_size
        runners.append(StepRunner(cfg, images, device=device))
    variants = [
        Timed(f'{i} {name}', runner, variant.plan)
        for i, runner in enumerate(runners)
        for name, variant in runner.variants.items()
    ]
    time_steps(variants, rounds=0, warmup=1)
    measured: list[dict[str, list[float]]] = []
    while len(measured) < rounds or time.perf_counter() - start < seconds:
        measured.append(time_steps(variants, rounds=1, warmup=0))
    return [
        [
            sum(v.probability * ms[f'{i} {n}'][0] for n, v in runner.variants.items())
            / 1000
            for ms in measured
        ]
        for i, runner in enumerate(runners)
    ]


def _time_loaders(
    presets: list[Preset], device: str, images: str | None, seconds: float
) -> dict[str, Loading | None]:
    """What the loader of each different pipeline delivers; None without its data."""
    found: dict[str, Loading | None] = {}
    different = {_key(preset): preset for preset in presets}
    for key, preset in different.items():
        cfg = copy.deepcopy(preset.cfg)
        workers = cfg.train_dataloader.num_workers
        try:
            runner = LoadingRunner(
                cfg, images=images, batches=2 * workers + 2, workers=workers
            )
        except _ABSENT:
            if images:
                raise
            found[key] = None
            continue
        first = runner.deliver()
        per_round = seconds / len(different) / (_LOADER_ROUNDS + 1)
        runner.batches = max(runner.batches, int(per_round / first.steady))
        rounds = [runner.deliver() for _ in range(_LOADER_ROUNDS)]
        middle = sorted(rounds, key=lambda d: d.steady)[_LOADER_ROUNDS // 2]
        found[key] = Loading(
            wall=round(middle.steady, 6),
            cpu=round(middle.cpu / runner.batches, 6),
            rate=round(middle.views / runner.batches / middle.steady, 1),
            workers=workers,
        )
    return found


def _with_loading(
    step: float, load: Loading, device: str, cores: int
) -> tuple[float, str | None]:
    """Seconds per step of a training that loads, and what limits it.

    Without workers the step waits for each batch. On the CPU, workers and step share
    the cores.
    """
    if not load.workers:
        return step + load.wall, 'loader' if load.wall > step else None
    shared = step
    if torch.device(device).type == 'cpu':
        busy = min(torch.get_num_threads(), cores)
        shared = max(step, (busy * step + load.cpu) / cores)
    return max(shared, load.wall), 'loader' if load.wall > step else None


_ABSENT = (OSError, ConfigError)  # what data sets raise whose files are not there


def _images_per_epoch(cfg: Config, images: str | None) -> tuple[int, str]:
    """Images and where the number is from; no image is read."""
    prepared = prepare_config(copy.deepcopy(cfg))
    try:
        return len(DATASETS.build(prepared.train_dataloader.dataset)), 'the data set'
    except _ABSENT as error:
        recipe = read_recipe(cfg)
        if recipe is not None and recipe.dataset == 'ImageNet':
            return _IMAGENET, 'ImageNet, which is not here'
        if not images:
            raise ConfigError(
                f"the config's data are not here ({error}); name a folder of images "
                'with --images'
            ) from error
    return len(LoadingRunner(copy.deepcopy(cfg), images=images).dataset), images


def _epochs(preset: Preset) -> int:
    epochs = (preset.cfg.get('train_cfg') or {}).get('max_epochs')
    if not epochs:
        raise ConfigError(
            f'{preset.path} does not say train_cfg.max_epochs, so its length is unknown'
        )
    return epochs


def _workers(cfg: Config, gpus: int) -> int:
    """Loader workers of a process, where as many processes as GPUs share the cores."""
    workers = cfg.train_dataloader.get('num_workers', 0)
    return min(workers, max(_cores() // gpus, 1))


def _cores() -> int:
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _key(preset: Preset) -> str:
    """The same for presets whose loaders do the same."""
    loader: dict[str, Any] = preset.cfg.train_dataloader
    return repr(
        (
            pipeline(training_set(preset.cfg)),
            bool(preset.cfg.get('fast_views')),
            loader['batch_size'],
            loader['num_workers'],
        )
    )


def _views(preset: Preset) -> int:
    return sum(v.number for v in views(training_set(preset.cfg)))
