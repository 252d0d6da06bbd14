"""Files that are whole or absent: writing them so, and telling whether they are."""

import os
import platform
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import IO

from mmaccel.errors import ConfigError

#: What a file is called while it is written: ``.<name>`` and this.
TEMPORARY = '.writing'


#: Files that count as images wherever a folder is read, upper or lower case.
IMAGE_EXTENSIONS = (
    '.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.pgm', '.tif', '.tiff', '.webp'
)  # fmt: skip


def unread_images(folder: str | Path) -> Counter:
    """Files below a folder that are images by their names, and that nothing here reads.

    Args:
        folder (str or Path): Read with its visible sub-folders.

    Returns:
        Counter: Their number by ending, such as ``.gif``.
    """
    from PIL import Image

    known = {*Image.registered_extensions()} - {*IMAGE_EXTENSIONS, '.pdf', '.mpg'}
    found: Counter = Counter()
    for _, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith('.')]
        endings = (
            os.path.splitext(name)[1].lower()
            for name in files
            if not name.startswith('.')
        )
        found.update(ending for ending in endings if ending in known)
    return found


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


def lock_folder(folder: str | Path) -> IO[str] | None:
    """Reserve a folder for this process, until it ends or the lock is closed.

    A lock of POSIX belongs to the process alone: loader workers that outlive it for a
    moment do not hold it.

    Args:
        folder (str or Path): The folder. Its lock is the file ``.lock``.

    Returns:
        IO, optional: To be kept open; None where the file system has no locks.

    Raises:
        ConfigError: If another process has it.
    """
    try:
        import fcntl
    except ImportError:  # not on Windows
        return None
    path = Path(folder, '.lock')
    file = open(path, 'a+')  # noqa: SIM115, it stays open
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        file.seek(0)
        owner = file.read().strip() or 'another process'
        raise ConfigError(
            f'{folder} is in use by {owner}: two trainings in one folder would '
            'overwrite each other; end that one, or give another --work-dir'
        ) from error
    except OSError:  # no locks on this file system
        return None
    file.truncate(0)
    file.write(f'process {os.getpid()} on {platform.node()}')
    file.flush()
    return file


def remove_temporaries(folder: str | Path) -> None:
    """Remove what :func:`write_atomically` left behind when it was killed."""
    for path in Path(folder).glob(f'.*{TEMPORARY}'):
        with suppress(OSError):
            path.unlink()


def check_complete(data: bytes) -> None:
    """Check that a JPEG, PNG or WebP file has its end.

    Takes microseconds: only markers are searched, pixels are not decoded.

    Args:
        data (bytes): The whole file.

    Raises:
        ValueError: Saying what is missing.
    """
    if not data:
        raise ValueError('the file is empty')
    if data.startswith(b'\xff\xd8'):
        # after the headers, where a thumbnail may have an end marker of its own
        if data.rfind(b'\xff\xd9', _start_of_scan(data)) < 0:
            raise ValueError(
                'the JPEG file is truncated: it has no end-of-image marker'
            )
    elif data.startswith(b'\x89PNG\r\n\x1a\n'):
        if data.rfind(b'IEND') < 0:
            raise ValueError('the PNG file is truncated: it has no IEND chunk')
    elif data.startswith(b'RIFF') and data[8:12] == b'WEBP':
        expected = 8 + int.from_bytes(data[4:8], 'little')
        if len(data) < expected:
            raise ValueError(
                f'the WebP file is truncated: it has {len(data)} of {expected} bytes'
            )


def _start_of_scan(data: bytes) -> int:
    """Offset at which a JPEG's headers end; by default the file's length."""
    offset = 2
    while offset + 4 <= len(data) and data[offset] == 0xFF:
        marker = data[offset + 1]
        if marker == 0xDA:  # start of scan
            return offset
        if marker == 0xFF:  # padding
            offset += 1
        else:
            offset += 2 + int.from_bytes(data[offset + 2 : offset + 4], 'big')
    return len(data)
