"""Checkpoints that are whole or absent, and the newest whole one of a run."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from string import Formatter

from mmengine.fileio import LocalBackend, register_backend

from mmaccel.errors import ConfigError
from mmaccel.fileio import write_atomically

from .checkpoint_reader import check_tensors, read_checkpoint, read_run, tensors

#: Name of a checkpoint that a signal leaves, with the number of iterations done.
INTERRUPTED = 'interrupted_{}.pth'


@register_backend('mmaccel_atomic', force=True)
class AtomicBackend(LocalBackend):
    """mmengine's local files, written by :func:`write_atomically`."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file's bytes."""
        write_atomically(filepath, obj)


#: How checkpoints are called: by the hook's defaults, and on a signal.
_TEMPLATES = ('epoch_{}.pth', 'iter_{}.pth', INTERRUPTED)


def is_whole(path: str | Path) -> bool:
    """Tell whether a checkpoint is complete: a trial reads it, its weights finite."""
    try:
        weights = read_checkpoint(path).get('state_dict')
        check_tensors(dict(tensors(weights)), path)
    except ConfigError:
        return False
    return True


def is_resumable(path: str | Path) -> bool:
    """Tell whether a checkpoint is complete and of a run that can go on."""
    try:
        read_run(path)
    except ConfigError:
        return False
    return True


def find_newest(
    work_dir: str | Path,
    filename_tmpl: str | None = None,
    fits: Callable[[Path], bool] = is_whole,
) -> tuple[str | None, list[str]]:
    """Find the newest whole checkpoint of a run.

    Looks at all files named like a checkpoint in the work directory and in the folder
    of the one that ``last_checkpoint`` names, which may be missing, damaged or
    outdated, and at that one, whatever its name. File dates are not used: copying
    changes them.

    Args:
        work_dir (str or Path): The run's work directory.
        filename_tmpl (str, optional): As the checkpoint hook's, such as
            ``'iter-{:06d}.pth'``, beside ``epoch_{}.pth``, ``iter_{}.pth`` and the name
            of those that a signal leaves.
        fits (Callable): Whether a file will do. Defaults to :func:`is_whole`.

    Returns:
        tuple: The checkpoint, None if there is none, and those skipped because they do
        not fit.
    """
    folders = {Path(work_dir).resolve()}
    named = _named_by_pointer(Path(work_dir, 'last_checkpoint'))
    if named is not None:
        folders.add(named.parent)
    newest, skipped = [], []
    templates = dict.fromkeys((filename_tmpl or _TEMPLATES[0], *_TEMPLATES))
    groups = [_numbered(folders, template) for template in templates]
    known = {path for group in groups for path in group}
    if named is not None and named not in known and named.is_file():
        groups.append([named])
    for group in groups:
        for path in group:
            if fits(path):
                newest.append(path)
                break
            skipped.append(str(path))
    if len(newest) > 1:
        newest.sort(key=_iteration, reverse=True)
    return (str(newest[0]) if newest else None), skipped


def _named_by_pointer(pointer: Path) -> Path | None:
    """The file that ``last_checkpoint`` names; None where it names none."""
    try:
        name = pointer.read_text(encoding='utf-8').strip()
        return Path(name).resolve() if name else None
    except (OSError, ValueError):  # absent, no text, or zeros
        return None


def _numbered(folders: Iterable[Path], template: str) -> list[Path]:
    """Files named like a checkpoint, the highest number first."""
    name = re.compile(
        ''.join(
            re.escape(text) + ('' if field is None else r'(\d+)')
            for text, field, _, _ in Formatter().parse(template)
        )
    )
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
