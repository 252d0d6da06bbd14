"""Masks and lists of VOC 2012's augmented training set, from SBD."""

from __future__ import annotations

import io
from collections.abc import Collection, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from mmaccel.errors import ConfigError
from mmaccel.fileio import write_atomically

from .install import install
from .sources import FolderSource, Source
from .voc import SBD, SPLITS, TRAINVAL_12, Split, read_ids

_FOLDER = 'SegmentationClassAug'


def augment(
    source: Source,
    devkit: Path,
    splits: Sequence[Split] = SPLITS,
    replace: Collection[str] = (),
) -> int:
    """Write ``SegmentationClassAug``, ``aug.txt`` and ``trainaug.txt``.

    The augmented training set is everything SBD or VOC 2012's train has, less VOC
    2012's val; ``aug.txt`` has what of it is not in ``train.txt``, since upstream's
    dataset config joins the two lists. VOC's images keep VOC's masks, which are finer
    and mark void borders.

    Args:
        source (Source): SBD's release, or a part of it that has ``cls`` and, beside
            that, ``train.txt`` and ``val.txt``.
        devkit (Path): The folder with ``VOC2012``, complete.
        splits (Sequence): The lists with their counts.
        replace (Collection): Masks to write anew, as paths below ``VOC2012``.

    Returns:
        How many masks were written.

    Raises:
        ConfigError: If the source is not SBD, or the lists do not come out at their
            counts; nothing is then written.
    """
    by_name = {split.name: split for split in splits if split.year == 'VOC2012'}
    root = devkit / 'VOC2012'
    train, val = (
        set(read_ids(devkit / by_name[name].path)) for name in ('train', 'val')
    )
    if (len(train), len(val)) != (by_name['train'].count, by_name['val'].count):
        raise ConfigError(
            f'{source.path} can only be used once train.txt and val.txt of VOC 2012 '
            f'are in order; prepare voc2012 first, from {TRAINVAL_12}'
        )
    base = _base(source)
    ids = set(_listed(source, base, 'train')) | set(_listed(source, base, 'val'))
    aug = sorted(ids - train - val)
    expected = by_name['aug'].count
    if len(aug) != expected:
        raise ConfigError(
            f"{source.path} has {len(aug)} images that VOC 2012's train and val have "
            f'not, {expected} are expected; get {SBD} again'
        )
    names = {name: str(base / 'cls' / f'{name}.mat') for name in aug}
    lacking = [name for name in aug if names[name] not in source.sizes]
    if lacking:
        raise ConfigError(
            f'{source.path} lacks {len(lacking)} masks, such as {names[lacking[0]]}; '
            f'get {SBD} again'
        )

    def convert(name: str, data: bytes) -> bytes:
        return _png(_segmentation(source, name, data))

    written = install(
        source,
        root,
        {names[name]: f'{_FOLDER}/{name}.png' for name in aug},
        convert=convert,
        replace=replace,
    )
    own = FolderSource(root / 'SegmentationClass')
    written += install(
        own,
        root,
        {f'{name}.png': f'{_FOLDER}/{name}.png' for name in sorted(train | val)},
        convert=_without_palette,
        replace=replace,
    )
    lists = devkit / by_name['aug'].path
    for path, content in (
        (lists.with_name('trainaug.txt'), sorted(train | set(aug))),
        (lists, aug),
    ):
        if sorted(read_ids(path)) != content:
            write_atomically(path, ''.join(f'{n}\n' for n in content).encode())
    return written


def _base(source: Source) -> PurePosixPath:
    """The folder that has ``cls``: SBD's ``dataset``, wherever that was put."""
    for name in source.sizes:
        path = PurePosixPath(name)
        if path.suffix == '.mat' and path.parent.name == 'cls':
            return path.parent.parent
    raise ConfigError(
        f'{source.path} has no masks cls/*.mat of the Semantic Boundaries Dataset; '
        f'give {SBD}, or the folder benchmark_RELEASE, with --sbd'
    )


def _listed(source: Source, base: PurePosixPath, name: str) -> list[str]:
    path = str(base / f'{name}.txt')
    if path not in source.sizes:
        raise ConfigError(f'{source.path} lacks {path}; get {SBD} again')
    return source.read(path).decode().split()


def _segmentation(source: Source, name: str, data: bytes) -> np.ndarray:
    """The class numbers in one of SBD's files."""
    from scipy.io import loadmat

    try:
        mask = loadmat(io.BytesIO(data))['GTcls'][0]['Segmentation'][0]
        return np.asarray(mask, dtype=np.uint8)
    except Exception as error:  # scipy has many
        raise ConfigError(
            f'{name} in {source.path} is damaged ({error}); get {SBD} again'
        ) from error


def _without_palette(name: str, data: bytes) -> bytes:
    """The same class numbers as a grey picture, like the masks from SBD."""
    try:
        with Image.open(io.BytesIO(data)) as mask:
            if mask.mode not in ('P', 'L'):
                raise ValueError(f'it holds colours, mode {mask.mode}')
            return _png(np.asarray(mask))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f'SegmentationClass/{name} of VOC 2012 is damaged ({error}); repair '
            f'voc2012 first, from {TRAINVAL_12}'
        ) from error


def _png(mask: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(mask).save(file, 'PNG')
    return file.getvalue()
