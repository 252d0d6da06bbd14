"""Putting files in their place: all of them or none, and going on after a stop."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

from mmaccel.errors import ConfigError

from .sources import Source

_STAGE = '.unpacking-'


def install(
    source: Source,
    root: Path,
    targets: dict[str, str],
    *,
    convert: Callable[[str, bytes], bytes] | None = None,
    replace: Collection[str] = (),
) -> int:
    """Write files of a source below a folder.

    They are gathered in a hidden folder beside their places and moved only once all
    are there, lists (``ImageSets``) last: what is interrupted never looks complete,
    and a second call goes on where the first one stopped. Files in place, of the size
    in the source, are left alone.

    Args:
        source (Source): Where the files are.
        root (Path): The folder.
        targets (dict): By name in the source, the path below ``root``.
        convert (Callable, optional): Makes a file's content from its name and content
            in the source. Any file in place that is not empty is then left alone.
        replace (Collection): Paths below ``root`` to write anew.

    Returns:
        How many files were written.

    Raises:
        ConfigError: If the disk is too full, before anything is written.
    """
    stage = root / f'{_STAGE}{source.path.name}'

    def lies_in(folder: Path, name: str) -> bool:
        with suppress(FileNotFoundError, NotADirectoryError):
            size = (folder / targets[name]).stat().st_size
            return size > 0 if convert else size == source.sizes[name]
        return False

    missing = [
        name
        for name in source.sizes
        if name in targets and (targets[name] in replace or not lies_in(root, name))
    ]
    unstaged = [name for name in missing if not lies_in(stage, name)]
    if missing:
        root.mkdir(parents=True, exist_ok=True)
        _check_space(source, root, sum(source.sizes[name] for name in unstaged))
    for name in unstaged:
        data = source.read(name)
        _write(stage / targets[name], convert(name, data) if convert else data)
    paths = sorted((targets[name] for name in missing), key=_lists_last)
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(str(stage / path), str(root / path))
    shutil.rmtree(stage, ignore_errors=True)
    return len(missing)


def remove_stages(root: Path) -> None:
    """Remove what a process left that died after its last file was in place.

    What still has files is kept for the call that goes on with it.
    """
    for stage in root.glob(f'{_STAGE}*'):
        if not any(path.is_file() for path in stage.rglob('*')):
            shutil.rmtree(stage, ignore_errors=True)


def _check_space(source: Source, root: Path, needed: int) -> None:
    free = shutil.disk_usage(root).free
    if needed > free:
        raise ConfigError(
            f'{source.path.name} needs {needed / 1e9:.2f} GB in {root}, where '
            f'{free / 1e9:.2f} GB are free; make room, or choose another disk with '
            '--out'
        )


def _write(path: Path, data: bytes) -> None:
    """Write a file whose name never stands for half of it, if the process dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f'{path.name}.part')
    part.write_bytes(data)
    os.replace(part, path)


def _lists_last(path: str) -> tuple[bool, str]:
    return path.startswith('ImageSets/'), path
