"""One JSON file a finished evaluation, from which the tables are made."""

import json
import logging
from collections.abc import Iterable, Mapping
from numbers import Real
from pathlib import Path

import torch
from mmengine.logging import print_log

from mmaccel.engine.checkpoint_reader import read_checkpoint
from mmaccel.engine.checkpoints import find_newest
from mmaccel.errors import ConfigError
from mmaccel.fileio import write_atomically
from mmaccel.hardware import processor_name

from .cached_features import hash_file
from .recipe import (
    SUPERVISED,
    describe,
    parse_config,
    recognise_classifier,
)

#: Evaluations that leave a record.
TASKS = ('linear', 'knn', 'stages', 'detection', 'segmentation')
FILENAME = 'result.json'


def write_record(
    work_dir: str | Path,
    task: str,
    metrics: Mapping[str, float],
    *,
    config: str,
    dataset: str,
    protocol: str,
    n: int,
    frozen: bool = True,
    pretrained: str | Path | None = None,
    prefix: str = '',
    seed: int | None = None,
) -> Path:
    """Write the result of an evaluation to ``result.json`` in its work directory.

    The record holds the checkpoint's hash and prefix, which tell its weights from
    others whatever they are called. Method, epochs and seed of the pretraining come
    from what its checkpoint says of itself, never from names of folders. A checkpoint
    that says nothing, such as torchvision's, is called by its file's name.

    Args:
        work_dir (str or Path): The evaluation's work directory; made if missing.
        task (str): One of :data:`TASKS`.
        metrics (Mapping[str, float]): Metrics in percent.
        config (str): Config or command that was evaluated.
        dataset (str): Such as ``'ImageNet'`` or ``'VOC07'``.
        protocol (str): What distinguishes figures that must not be compared, such as
            ``'11-point'`` or the schedule.
        n (int): Images evaluated.
        frozen (bool): Whether the backbone was frozen. Defaults to True.
        pretrained (str or Path, optional): Pretraining checkpoint or its work
            directory. By default none: random weights.
        prefix (str): What the names of the backbone's weights start with in it: a
            checkpoint may have several. Defaults to ''.
        seed (int, optional): Seed of the evaluation.

    Returns:
        Path: The file.

    Raises:
        ValueError: If the task is unknown or a metric is no number.
    """
    record = dict(
        task=task,
        **_origin(pretrained),
        prefix=prefix,
        seed=seed,
        frozen=bool(frozen),
        dataset=dataset,
        metrics={name: float(value) for name, value in metrics.items()},
        protocol=protocol,
        config=str(config),
        device=processor_name(),
        torch=torch.__version__,
        n=int(n),
    )
    problem = _problem(record)
    if problem:
        raise ValueError(f'a record cannot be written: {problem}')
    path = Path(work_dir, FILENAME)
    write_atomically(path, (json.dumps(record, indent=2) + '\n').encode())
    return path


def is_result_of(folder: str | Path, pretrained: str | Path, prefix: str = '') -> bool:
    """Whether a folder has a whole record of these weights.

    Args:
        folder (str or Path): An evaluation's work directory.
        pretrained (str or Path): A pretraining checkpoint.
        prefix (str): As of :func:`write_record`. Defaults to ''.

    Returns:
        bool: False if there is no record, or it is none.

    Raises:
        ConfigError: If the record is of other weights.
    """
    path = Path(folder, FILENAME)
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError):
        return False
    if _problem(record):
        return False
    if (record.get('checkpoint'), record.get('prefix')) != (
        hash_file(pretrained),
        prefix,
    ):
        raise ConfigError(
            f'{path} is a result of other weights '
            f'({record.get("pretrain")}, prefix {record.get("prefix")!r}), or does not '
            f'say of which, not of {pretrained} with the prefix {prefix!r}; give '
            '--work-dir another folder, or remove it'
        )
    return True


def read_records(work_dirs: Iterable[str | Path]) -> list[dict]:
    """All records below some folders, in the order of their paths.

    A damaged one is named in the log and passed over.

    Args:
        work_dirs (Iterable[str or Path]): Folders; one inside another counts once.

    Returns:
        list[dict]: The records, with their file as ``'path'``.

    Raises:
        ConfigError: If a folder does not exist.
    """
    paths: dict[Path, Path] = {}
    for work_dir in map(Path, work_dirs):
        if not work_dir.is_dir():
            raise ConfigError(f'there is no folder {work_dir}; name work directories')
        for path in sorted(work_dir.rglob(FILENAME)):
            paths.setdefault(path.resolve(), path)
    records = []
    for path in paths.values():
        try:
            record = json.loads(path.read_text())
            problem = _problem(record)
        except (OSError, ValueError) as error:
            problem = str(error)
        if problem:
            print_log(
                f'{path} is no whole record and is passed over: {problem}',
                logger='current',
                level=logging.WARNING,
            )
        else:
            records.append(dict(record, path=str(path)))
    return records


def load_checkpoint(path: str | Path) -> dict:
    """A checkpoint's content; empty if it cannot be read."""
    try:
        return read_checkpoint(path)
    except ConfigError:
        return {}


def checkpoint_meta(checkpoint: dict) -> dict:
    """What a checkpoint says of itself; empty if nothing."""
    meta = checkpoint.get('meta')
    return meta if isinstance(meta, dict) else {}


def _origin(pretrained: str | Path | None) -> dict:
    """Where the backbone comes from."""
    if pretrained is None:
        return dict(
            method='random weights',
            pretrain=None,
            checkpoint=None,
            pretrain_epochs=None,
            pretrain_seed=None,
            recipe=None,
            settings=None,
        )
    path = Path(pretrained)
    if path.is_dir():
        newest, _ = find_newest(path)
        path = Path(newest or path)
    checkpoint = load_checkpoint(path)
    meta = checkpoint_meta(checkpoint)
    recipe, settings = describe(parse_config(str(meta.get('cfg', ''))))
    recipe = recipe or recognise_classifier(checkpoint)
    named = recipe is not None and recipe.method != SUPERVISED
    return dict(
        method=recipe.method if recipe and named else path.stem,
        pretrain=str(path),
        checkpoint=hash_file(path) if path.is_file() else None,
        pretrain_epochs=_whole(meta.get('epoch')),
        pretrain_seed=_whole(meta.get('seed')),
        recipe=recipe._asdict() if recipe else None,
        settings=settings,
    )


def _whole(x: object) -> int | None:
    """A number that a checkpoint gives, if it is one."""
    return x if type(x) is int else None


def _problem(record: object) -> str:
    """What is wrong with a record; empty if nothing."""
    if not isinstance(record, dict):
        return 'it is no object'
    missing = [key for key in _REQUIRED if key not in record]
    if missing:
        return f'it has no {", ".join(missing)}'
    if record['task'] not in TASKS:
        return f'task={record["task"]!r} is none of {", ".join(TASKS)}'
    metrics = record['metrics']
    if not isinstance(metrics, dict) or not metrics:
        return 'it has no metrics'
    wrong = [k for k, v in metrics.items() if not isinstance(v, Real) or v != v]
    return f'{wrong[0]} is no number' if wrong else ''


_REQUIRED = ('task', 'method', 'dataset', 'frozen', 'metrics', 'protocol', 'n')
