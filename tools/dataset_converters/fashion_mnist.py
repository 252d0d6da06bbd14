"""Put Fashion-MNIST, unpacked, where the configs look for it.

Tried in this order: a folder that has the four idx or idx.gz files, the Debian package
dataset-fashion-mnist (downloaded and unpacked without root, nothing is installed), the
dataset's own download. What is there already is kept.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))
import _checkout  # noqa: F401, it finds mmaccel

from mmaccel.cli.command import Command, about
from mmaccel.errors import ConfigError

EXAMPLES = """\
  python tools/dataset_converters/fashion_mnist.py
  python tools/dataset_converters/fashion_mnist.py --data /datasets/fashion-mnist
"""
PACKAGE = 'dataset-fashion-mnist'
#: Name, dimensions.
FILES = (
    ('train-images-idx3-ubyte', 3),
    ('train-labels-idx1-ubyte', 1),
    ('t10k-images-idx3-ubyte', 3),
    ('t10k-labels-idx1-ubyte', 1),
)


def find(folder: Path) -> dict[str, Path]:
    """The four files below a folder, unpacked ones before packed ones.

    Raises:
        ConfigError: Naming what is missing.
    """
    found, missing = {}, []
    for name, _ in FILES:
        for pattern in (name, f'{name}.gz'):
            paths = sorted(folder.rglob(pattern))
            if paths:
                found[name] = paths[0]
                break
        else:
            missing.append(name)
    if missing:
        raise ConfigError(f'{folder} lacks {", ".join(missing)} (idx or idx.gz)')
    return found


def check(name: str, dims: int, data: bytes) -> None:
    """Refuse what is not a whole idx file of bytes.

    Raises:
        ConfigError: If it is not.
    """
    sizes = [int.from_bytes(data[4 + 4 * i : 8 + 4 * i], 'big') for i in range(dims)]
    expected = 4 + 4 * dims
    count = 1
    for size in sizes:
        count *= size
    if data[:4] != bytes([0, 0, 8, dims]) or len(data) != expected + count:
        raise ConfigError(f'{name} is not a whole idx file; fetch it again')


def unpack(files: dict[str, Path], out: Path) -> None:
    """Write the four files, checked, into a folder: all of them or none."""
    contents = {}
    for name, dims in FILES:
        data = files[name].read_bytes()
        if files[name].suffix == '.gz':
            try:
                data = gzip.decompress(data)
            except (OSError, EOFError) as error:
                raise ConfigError(f'{files[name]} is damaged: {error}') from error
        check(str(files[name]), dims, data)
        contents[name] = data
    out.mkdir(parents=True, exist_ok=True)
    for name, data in contents.items():
        part = out / f'{name}.part'
        part.write_bytes(data)
        part.replace(out / name)


def is_complete(folder: Path) -> bool:
    """Whether a folder itself holds the four files, unpacked and whole."""
    try:
        for name, dims in FILES:
            check(name, dims, (folder / name).read_bytes())
    except (OSError, ConfigError):
        return False
    return True


def from_debian(out: Path, timeout: float) -> None:
    """Download the Debian package and unpack it, without root."""
    for command in ('apt-get', 'dpkg-deb'):
        if shutil.which(command) is None:
            raise ConfigError(f'there is no {command} here')
    with tempfile.TemporaryDirectory() as folder:
        tmp = Path(folder)
        download = ['apt-get', 'download', PACKAGE]
        if not _run(download, tmp, timeout):
            # the system has no list of packages: fetch one into a folder of our own
            for name in ('lists/partial', 'cache/archives/partial'):
                (tmp / name).mkdir(parents=True)
            private = [f'Dir::State::lists={tmp}/lists', f'Dir::Cache={tmp}/cache']
            options = [word for value in private for word in ('-o', value)]
            _run(['apt-get', *options, 'update'], tmp, timeout)
            if not _run(['apt-get', *options, *download[1:]], tmp, timeout):
                raise ConfigError(f'apt-get cannot download {PACKAGE}')
        (package,) = tmp.glob('*.deb')
        if not _run(['dpkg-deb', '-x', package.name, 'unpacked'], tmp, timeout):
            raise ConfigError(f'dpkg-deb cannot unpack {package.name}')
        unpack(find(tmp / 'unpacked'), out)


def _run(command: list[str], folder: Path, timeout: float) -> bool:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, timeout=timeout, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def from_download(out: Path, timeout: float) -> None:
    """Fetch the files from where the host's dataset class takes them."""
    from mmengine.registry import DATASETS

    from mmaccel import host

    name = f'{host.installed()[0].labels}.FashionMNIST'
    FashionMNIST = host.find(DATASETS, name)

    with tempfile.TemporaryDirectory() as folder:
        for name, md5 in FashionMNIST.train_list + FashionMNIST.test_list:
            url = FashionMNIST.url_prefix + name
            try:
                with urllib.request.urlopen(url, timeout=timeout) as answer:
                    data = answer.read()
            except (OSError, urllib.error.URLError) as error:
                raise ConfigError(f'{url}: {error}') from error
            if hashlib.md5(data).hexdigest() != md5:
                raise ConfigError(f'{url} gave another file than expected')
            (Path(folder) / name).write_bytes(data)
        unpack(find(Path(folder)), out)


def prepare(data: Path | None, out: Path, timeout: float) -> Path:
    """Make the files available; return the folder that has them unpacked.

    Raises:
        ConfigError: If no source works, naming each and what to do.
    """
    if data is not None:
        if is_complete(data):
            return data
        unpack(find(data), out)
        return out
    if is_complete(out):
        return out
    reasons = []
    for label, source in (
        (f'Debian package {PACKAGE}', from_debian),
        ('download', from_download),
    ):
        print(f'Trying the {label} ...', file=sys.stderr, flush=True)
        try:
            source(out, timeout)
            return out
        except (ConfigError, OSError, ImportError) as error:
            reasons.append(f'{label}: {error}')
    raise ConfigError(
        'Fashion-MNIST is not reachable from here ('
        + '; '.join(reasons)
        + '). Copy its four files (idx or idx.gz) to this machine and give their '
        'folder with --data'
    )


def main(argv: list[str] | None = None) -> int:
    """Prepare the data and print the folder; return the exit code."""
    parser = argparse.ArgumentParser(**about(__doc__, EXAMPLES))
    parser.add_argument('--data', type=Path, help='a folder that has the files')
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('data/fashion-mnist'),
        help='where to unpack them (default: data/fashion-mnist)',
    )
    parser.add_argument(
        '--timeout',
        type=float,
        default=120,
        help='seconds that one attempt may take or stall (default: 120)',
    )
    args = parser.parse_args(argv)

    def body(command: Command) -> None:
        if args.data is not None and not args.data.is_dir():
            raise ConfigError(f'there is no folder {args.data}')
        print(prepare(args.data, args.out, args.timeout))

    return Command().run(body)


if __name__ == '__main__':
    sys.exit(main())
