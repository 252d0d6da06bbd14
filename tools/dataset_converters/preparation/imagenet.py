"""Whether a folder has ImageNet in the layout that MMSelfSup's configs expect."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing import Pool
from pathlib import Path, PurePosixPath

from mmaccel.errors import ConfigError
from mmaccel.fileio import write_atomically

from .finding import Finding
from .images import image_fault, spread

#: Images opened of each split unless all are.
SAMPLE = 1000

_TRAIN = (
    'unpack ILSVRC2012_img_train.tar (ImageNet site, ILSVRC 2012, "Training images, '
    'Task 1 & 2"), then each n*.tar in it into the folder train/n*'
)
_VAL = (
    'unpack ILSVRC2012_img_val.tar (ImageNet site, ILSVRC 2012, "Validation images, '
    'all tasks") into val'
)
_META_TRAIN = 'with all of train in place, --write-meta writes meta/train.txt'
_META_VAL = 'with all of val in place, --write-meta writes meta/val.txt'
#: Where file names do not tell the class.
_META_FLAT = (
    'get val.txt of caffe_ilsvrc12.tar.gz, which MMClassification names for ImageNet '
    '(lines like "ILSVRC2012_val_00000001.JPEG 65"), and put it in meta; or sort val '
    'into one folder a class, and call this with --write-meta'
)


#: The first lines of that list. The devkit's own numbering gives other labels.
_VAL_LABELS = {
    f'ILSVRC2012_val_{i:08d}.JPEG': label
    for i, label in enumerate((65, 970, 230, 809, 516), 1)
}


@dataclass(frozen=True)
class Counts:
    """How much there must be, and labels of images of val that are known."""

    classes: int = 1000
    train: int = 1_281_167
    val: int = 50_000
    val_labels: Mapping[str, int] = field(default_factory=lambda: _VAL_LABELS)


class ImageNetFolder:
    """The files of an ImageNet folder, listed once.

    Args:
        root (Path): The folder with ``train``, ``val`` and ``meta``.
        counts (Counts): How much there must be.
    """

    def __init__(self, root: Path, counts: Counts | None = None) -> None:
        self.root = root
        self.counts = counts or Counts()
        self.files = {split: list(_images(root / split)) for split in ('train', 'val')}

    def classes(self, split: str) -> list[str]:
        """The class folders that hold images, in the order of their labels."""
        return sorted(
            {name.partition('/')[0] for name in self.files[split] if '/' in name}
        )

    def check(self, full: bool = False, workers: int = 1) -> list[Finding]:
        """Compare folders, images and lists with what must be there; write nothing.

        Args:
            full (bool): Whether to open every image, not a sample.
            workers (int): Processes that open images.
        """
        findings = []
        for split, source in (('train', _TRAIN), ('val', _VAL)):
            if split == 'train' or self.classes(split):
                findings.append(self._check_classes(split, source))
            findings.append(self._check_images(split, source, full, workers))
        return [*findings, *(self._check_meta(split) for split in ('train', 'val'))]

    def write_meta(self, split: str) -> Path | None:
        """Write a split's list if it is missing, in sorted order; return its path.

        Raises:
            ConfigError: If the images are not complete, or do not tell their class.
        """
        path = self.root / 'meta' / f'{split}.txt'
        if path.exists():
            return None
        classes, images = self.classes(split), self.files[split]
        expected = getattr(self.counts, split)
        if images and not classes:
            raise ConfigError(
                f'{path} cannot be made, since the images in {split} lie in one '
                f'folder, which does not tell their classes: {_META_FLAT}'
            )
        if len(classes) != self.counts.classes or len(images) != expected:
            raise ConfigError(
                f'{path} would be wrong: {split} has {len(images)} images in '
                f'{len(classes)} classes, {expected} in {self.counts.classes} are '
                'expected; complete it first'
            )
        label = {name: i for i, name in enumerate(classes)}
        lines = [f'{name} {label[name.partition("/")[0]]}\n' for name in images]
        write_atomically(path, ''.join(lines).encode())
        return path

    def _check_classes(self, split: str, source: str) -> Finding:
        classes = self.classes(split)
        finding = Finding(
            f'{split} classes', len(classes), self.counts.classes, source=source
        )
        if split == 'train':
            packed = sorted(p.name for p in (self.root / 'train').glob('n*.tar'))
            if packed:
                finding.faults[f'train/{packed[0]}'] = (
                    f'one of {len(packed)} archives still to be unpacked'
                )
        else:
            for name in sorted(set(classes) ^ set(self.classes('train'))):
                finding.faults[f'val/{name}'] = 'a class of only one of train and val'
        return finding

    def _check_images(
        self, split: str, source: str, full: bool, workers: int
    ) -> Finding:
        names = self.files[split]
        hidden = [name for name in names if PurePosixPath(name).name.startswith('.')]
        visible = sorted(set(names) - set(hidden))
        paths = [
            str(self.root / split / name)
            for name in spread(visible, None if full else SAMPLE)
        ]
        faults = {
            f'{split}/{name}': 'a hidden file, as macOS writes beside images; remove it'
            for name in hidden
        }
        faults |= {
            os.path.relpath(path, self.root): fault
            for path, fault in zip(paths, _faults(paths, workers))
            if fault
        }
        return Finding(
            f'{split} images',
            len(names) - len(faults),
            getattr(self.counts, split),
            faults,
            source,
        )

    def _check_meta(self, split: str) -> Finding:
        path = f'meta/{split}.txt'
        flat = bool(self.files[split]) and not self.classes(split)
        source = _META_FLAT if flat else _META_TRAIN if split == 'train' else _META_VAL
        try:
            lines = (self.root / path).read_text(encoding='utf-8').splitlines()
        except (OSError, UnicodeDecodeError):
            lines = []
        expected = getattr(self.counts, split)
        if not lines:
            return Finding(path, 0, expected, {path: 'missing or empty'}, source)
        source = f'remove {path}, then {source}'
        label = {name: i for i, name in enumerate(self.classes(split))}
        known = self.counts.val_labels if split == 'val' else {}
        there, listed, labels = set(self.files[split]), set(), set()
        faults: dict[str, str] = {}
        for number, line in enumerate(lines, 1):
            name, _, text = line.strip().rpartition(' ')
            where = f'{path}, line {number}'
            if not name or not text.isdecimal() or int(text) >= self.counts.classes:
                faults[where] = f'{line[:80]!r} is not a file name and its label'
                continue
            folder = name.partition('/')[0]
            if name not in there:
                faults[where] = f'there is no image {split}/{name}'
            elif name in listed:
                faults[where] = f'{name} is listed already'
            elif label.get(folder, int(text)) != int(text):
                faults[where] = (
                    f'{name} has label {text}, its class is number {label[folder]}'
                )
            elif known.get(PurePosixPath(name).name, int(text)) != int(text):
                faults[where] = (
                    f'{name} has label {text}, it must be '
                    f"{known[PurePosixPath(name).name]}: labels count the classes' "
                    "names in sorted order, not as the devkit's list does"
                )
            listed.add(name)
            labels.add(int(text))
        if not faults and len(labels) != self.counts.classes:
            faults[path] = f'has {len(labels)} of {self.counts.classes} labels'
        return Finding(path, len(listed & there), expected, faults, source)


def _images(folder: Path) -> Iterator[str]:
    """Images in a folder and its folders, sorted, with the folder's name in front."""
    try:
        with os.scandir(folder) as entries:
            found = sorted((entry.name, entry.is_dir()) for entry in entries)
    except (FileNotFoundError, NotADirectoryError):
        return
    for name, is_folder in found:
        if is_folder:
            inner = sorted(os.listdir(folder / name))
            yield from (f'{name}/{file}' for file in inner if _is_image(file))
        elif _is_image(name):
            yield name


def _is_image(name: str) -> bool:
    return name.lower().endswith(('.jpeg', '.jpg'))


def _faults(paths: Sequence[str], workers: int) -> Iterator[str | None]:
    """:func:`image_fault` of each, in order, telling how far it is."""
    if workers <= 1 or len(paths) <= SAMPLE:
        yield from _counted(map(image_fault, paths), len(paths))
        return
    with Pool(workers) as pool:
        yield from _counted(pool.imap(image_fault, paths, chunksize=64), len(paths))


def _counted(faults: Iterator[str | None], total: int) -> Iterator[str | None]:
    for done, fault in enumerate(faults, 1):
        if done % 50_000 == 0:
            print(f'{done} of {total} images read', file=sys.stderr, flush=True)
        yield fault
