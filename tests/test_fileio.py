import errno
import os
import signal
from multiprocessing import get_context

import pytest

from mmaccel import fileio
from mmaccel.fileio import remove_temporaries, write_atomically


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_write_replaces_the_content(tmp_path):
    path = tmp_path / 'deep' / 'x.pth'
    write_atomically(path, b'old')
    write_atomically(path, b'new')
    assert path.read_bytes() == b'new'
    assert files(path.parent) == ['x.pth']


@pytest.mark.parametrize('moment', ['fsync', 'replace'])
def test_kill_while_writing_leaves_the_old_file(tmp_path, moment):
    path = tmp_path / 'x.pth'
    write_atomically(path, b'old')

    def write():
        setattr(os, moment, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        write_atomically(path, b'new content')

    process = get_context('fork').Process(target=write)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert path.read_bytes() == b'old'
    assert len(files(tmp_path)) == 2
    remove_temporaries(tmp_path)
    assert files(tmp_path) == ['x.pth']


class FullDisk:
    """A file on a disk that is full after some bytes."""

    def __init__(self, path, mode, room=3):
        self.path, self.mode, self.room = path, mode, room

    def __enter__(self):
        self.file = open(self.path, self.mode)
        return self

    def __exit__(self, *_):
        self.file.close()

    def write(self, data):
        self.file.write(data[: self.room])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / 'x.pth'
    write_atomically(path, b'old')
    monkeypatch.setattr(fileio, 'open', FullDisk, raising=False)
    with pytest.raises(OSError, match='No space left'):
        write_atomically(path, b'new content')
    assert path.read_bytes() == b'old'
    assert files(tmp_path) == ['x.pth']
