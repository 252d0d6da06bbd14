"""Files that are whole or absent."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

#: What a file is called while it is written: ``.<name>`` and this.
TEMPORARY = '.writing'


def write_atomically(path: str | Path, data: bytes) -> None:
    """Write a file so that its name never stands for half of it.

    Writes beside it, forces the bytes to the disk and renames. A process that dies on
    the way leaves the old file and a temporary one; an error leaves only the old file.

    Args:
        path (str or Path): The file.
        data (bytes): Its new content.

    Raises:
        OSError: As from writing, for example on a full disk.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'.{path.name}{TEMPORARY}')
    try:
        with open(temporary, 'wb') as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    with suppress(OSError):  # the new name, too, where folders can be synced
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def remove_temporaries(folder: str | Path) -> None:
    """Remove what :func:`write_atomically` left behind when it was killed."""
    for path in Path(folder).glob(f'.*{TEMPORARY}'):
        with suppress(OSError):
            path.unlink()
