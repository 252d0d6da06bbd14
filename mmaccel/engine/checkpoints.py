"""Checkpoints that are whole or absent, and the newest whole one of a run."""

import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

from mmaccel.errors import ConfigError
from mmaccel.fileio import write_atomically

from .checkpoint_reader import check_tensors, read_checkpoint, tensors


@register_backend('mmaccel_atomic', force=True)
class AtomicBackend(LocalBackend):
    """mmengine's local files, written by :func:`write_atomically`."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file's bytes."""
        write_atomically(filepath, obj)


def is_whole(path: str | Path) -> bool:
    """Tell whether a checkpoint is complete: a trial reads it, its weights finite."""
    try:
        weights = read_checkpoint(path).get('state_dict')
        check_tensors(dict(tensors(weights)), path)
    except ConfigError:
        return False
    return True


def find_newest(
    work_dir: str | Path, filename_tmpl: str | None = None
) -> tuple[str | None, list[str]]:
    """Find the newest whole checkpoint of a run.

    Looks at all files named like a checkpoint in the work directory and in the folder
    of the one that ``last_checkpoint`` names, which may be missing, empty or outdated.
    File dates are not used: copying changes them.

    Args:
        work_dir (str or Path): The run's work directory.
        filename_tmpl (str, optional): As the checkpoint hook's. By default
            ``epoch_{}.pth`` and ``iter_{}.pth``.

    Returns:
        tuple: The checkpoint, None if there is none, and those skipped because they are
        damaged.
    """
    folders = {Path(work_dir).resolve()}
    with suppress(OSError):
        pointer = Path(work_dir, 'last_checkpoint').read_text().strip()
        if pointer:
            folders.add(Path(pointer).resolve().parent)
    templates = [filename_tmpl] if filename_tmpl else ['epoch_{}.pth', 'iter_{}.pth']
    newest, damaged = [], []
    for template in templates:
        for path in _numbered(folders, template):
            if is_whole(path):
                newest.append(path)
                break
            damaged.append(str(path))
    if len(newest) > 1:
        newest.sort(key=_iteration, reverse=True)
    return (str(newest[0]) if newest else None), damaged


def _numbered(folders: Iterable[Path], template: str) -> list[Path]:
    """Files named like a checkpoint, the highest number first."""
    name = re.compile(re.escape(template).replace(r'\{\}', r'(\d+)'))
    found = []
    for folder in folders:
        for path in folder.iterdir() if folder.is_dir() else ():
            match = name.fullmatch(path.name)
            if match and path.is_file():
                found.append((int(match[1]), path))
    return [path for _, path in sorted(found, reverse=True)]


def _iteration(path: Path) -> int:
    meta = read_checkpoint(path).get('meta')
    number = meta.get('iter') if isinstance(meta, dict) else None
    return number if isinstance(number, int) else -1  # of another origin
