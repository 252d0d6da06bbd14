"""Write CIFAR-10 as images, where the CIFAR-10 recipes and the study look for them.

train/<class>/NNNN.png and test/<class>/NNNN.png, numbered from 0 within a class in the
order of the dataset's own files. What is complete already is kept.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))
import _checkout  # noqa: F401, it finds mmaccel

from mmaccel.cli.command import Command, about
from mmaccel.errors import ConfigError

EXAMPLES = """\
  # download (170 MB) and convert
  python tools/dataset_converters/cifar10.py

  # a folder that has cifar-10-python.tar.gz or what it unpacks to, cifar-10-batches-py
  python tools/dataset_converters/cifar10.py --data /datasets/cifar
"""
IMAGES_PER_CLASS = {'train': 5000, 'test': 1000}


def is_complete(out: Path) -> bool:
    """Whether a folder has all images."""
    folders = [(out / split, count) for split, count in IMAGES_PER_CLASS.items()]
    return all(
        len(list(folder.glob('*/*.png'))) == 10 * count for folder, count in folders
    )


def convert(root: Path, out: Path) -> None:
    """Write the images of torchvision's CIFAR-10 in ``root``, all of them or none.

    Raises:
        ConfigError: If the files are missing or damaged.
    """
    from torchvision.datasets import CIFAR10

    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        for split in IMAGES_PER_CLASS:
            try:
                images = CIFAR10(str(root), train=split == 'train')
            except RuntimeError as error:
                raise ConfigError(
                    f'{root} has no whole cifar-10-batches-py (torchvision: {error})'
                ) from error
            written = dict.fromkeys(images.classes, 0)
            for name in written:
                Path(folder, split, name).mkdir(parents=True)
            for image, label in images:
                name = images.classes[label]
                image.save(Path(folder, split, name, f'{written[name]:04d}.png'))
                written[name] += 1
        for split in IMAGES_PER_CLASS:
            shutil.rmtree(out / split, ignore_errors=True)
            out.mkdir(exist_ok=True)
            shutil.move(str(Path(folder, split)), str(out / split))


def prepare(data: Path | None, out: Path) -> None:
    """Make the images available.

    Raises:
        ConfigError: Naming what is missing and what to do.
    """
    if is_complete(out):
        return
    from torchvision.datasets import CIFAR10
    from torchvision.datasets.utils import check_integrity

    if data is not None:
        archive = data / CIFAR10.filename
        if archive.is_file() and not (data / CIFAR10.base_folder).is_dir():
            if not check_integrity(str(archive), CIFAR10.tgz_md5):
                raise ConfigError(f'{archive} is damaged; fetch it again')
            with tempfile.TemporaryDirectory(dir=out.parent) as folder:
                shutil.unpack_archive(archive, folder)
                convert(Path(folder), out)
        else:
            convert(data, out)
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            CIFAR10(folder, download=True)
        except (OSError, RuntimeError) as error:
            raise ConfigError(
                f'CIFAR-10 cannot be downloaded ({error}). Copy '
                f'{CIFAR10.filename} to this machine and give its folder with --data'
            ) from error
        convert(Path(folder), out)


def main(argv: list[str] | None = None) -> int:
    """Prepare the images and print their folder; return the exit code."""
    parser = argparse.ArgumentParser(**about(__doc__, EXAMPLES))
    parser.add_argument('--data', type=Path, help='a folder that has the dataset')
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('data/cifar10'),
        help='where to write the images (default: data/cifar10)',
    )
    args = parser.parse_args(argv)

    def body(command: Command) -> None:
        if args.data is not None and not args.data.is_dir():
            raise ConfigError(f'there is no folder {args.data}')
        args.out.parent.mkdir(parents=True, exist_ok=True)
        prepare(args.data, args.out)
        print(args.out)

    return Command().run(body)


if __name__ == '__main__':
    sys.exit(main())
