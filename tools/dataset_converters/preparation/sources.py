"""Files to install, whether they lie in an archive or in a folder."""

from __future__ import annotations

import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Protocol

from mmaccel.errors import ConfigError

_DAMAGE = (tarfile.TarError, EOFError, zlib.error, OSError)


class Source(Protocol):
    """A set of named files.

    Attributes:
        path (Path): Where they come from.
        sizes (dict): By name, with forward slashes, each file's bytes, in the order in
            which they are read fastest.
    """

    path: Path
    sizes: dict[str, int]

    def read(self, name: str) -> bytes:
        """The content of one file."""


class FolderSource:
    """The files under a folder, as :class:`Source`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sizes = {
            file.relative_to(path).as_posix(): file.stat().st_size
            for file in sorted(_files(path))
            if file.is_file()  # a dangling link is not
        }

    def read(self, name: str) -> bytes:
        """The content of one file."""
        return (self.path / name).read_bytes()


class TarSource:
    """The files in a tar archive, compressed or not, as :class:`Source`.

    Raises:
        ConfigError: If the archive is damaged, or has a member whose name or link
            leads out of the folder it would be unpacked to.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._damage_told():
            self._tar = tarfile.open(path)  # noqa: SIM115  # read from until the end
            members = self._tar.getmembers()
            self._check_end()
        for member in members:
            links_out = (member.issym() or member.islnk()) and _leaves(member.linkname)
            if _leaves(member.name) or links_out:
                raise ConfigError(
                    f'{path} has the member {member.name!r}, which leads out of the '
                    'folder it is unpacked to: nothing was unpacked; get the archive '
                    'from its official page'
                )
        # links are left out: the archives this is for have none
        self._members = {_plain(m.name): m for m in members if m.isfile()}
        self.sizes = {name: m.size for name, m in self._members.items()}

    def read(self, name: str) -> bytes:
        """The content of one file."""
        with self._damage_told():
            file = self._tar.extractfile(self._members[name])
            assert file is not None  # a regular file
            data = file.read()
        return data

    def _check_end(self) -> None:
        """Tell a member that cannot be read from the end: tarfile takes it for that."""
        file = self._tar.fileobj
        assert file is not None  # open for reading
        file.seek(self._tar.offset)
        if file.read(tarfile.BLOCKSIZE).strip(b'\0'):
            raise tarfile.ReadError(f'no member begins at byte {self._tar.offset}')

    @contextmanager
    def _damage_told(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except _DAMAGE as error:
            raise ConfigError(
                f'{self.path} is damaged or incomplete ({error}); get it again'
            ) from error


def open_source(path: str | Path) -> Source:
    """The files of a folder or an archive.

    Raises:
        ConfigError: If there is neither, or the archive cannot be used.
    """
    path = Path(path)
    if path.is_dir():
        return FolderSource(path)
    if not path.is_file():
        raise ConfigError(f'there is no folder or archive {path}')
    if zipfile.is_zipfile(path):
        raise ConfigError(
            f'{path} is a zip archive, where a tar archive is expected; unpack it and '
            'give the folder, or get the archive from its official page'
        )
    return TarSource(path)


def _files(folder: Path) -> Iterator[Path]:
    """Files at any depth, behind links as well, which ``rglob`` does not follow."""
    seen = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:  # a link back up
            folders.clear()
            continue
        seen.add(real)
        for name in names:
            yield Path(parent, name)


def _leaves(name: str) -> bool:
    return PurePosixPath(name).is_absolute() or '..' in PurePosixPath(name).parts


def _plain(name: str) -> str:
    return PurePosixPath(name).as_posix()  # without a leading ./
