"""Features on disk, reused while nothing they depend on changes."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from mmengine.dataset import BaseDataset

from mmaccel.fileio import write_atomically

_KEY = 'key.json'
_LABELS = 'labels'


class FeatureSet(NamedTuple):
    """Features of a labelled set.

    ``stages``: name to (N, C) in fp32, in the network's order. ``labels``: (N,).
    """

    stages: dict[str, np.ndarray]
    labels: np.ndarray


class FeatureCache:
    """A folder with features and a key of what they were computed from.

    A forward pass over the data takes longer than the probes that use its features. The
    folder has one network's features of one data set; those of another replace them.

    Args:
        folder (str or Path): Need not exist.
        key (Mapping[str, str]): Whatever the features depend on, by name, as
            :func:`hash_file` and :func:`hash_text` give it.
        data (Mapping[str, str]): By split, its images, as :func:`hash_dataset` gives
            them. Defaults to none.
    """

    def __init__(
        self,
        folder: str | Path,
        key: Mapping[str, str],
        data: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = Path(folder)
        self._shared, self._data = dict(key), dict(data or {})
        self.key = {**key, **({'data': hash_text(self._data)} if data else {})}

    def changed(self, stages: Iterable[str] = ()) -> list[str] | None:
        """Why the features on disk cannot be used.

        Args:
            stages (Iterable[str]): Names of the stages that are needed.

        Returns:
            list[str], optional: Names in the key whose value changed, and missing
            stages; None if there are no features at all.
        """
        try:
            before = self._content()
        except (OSError, ValueError):
            return None
        names = {**before['key'], **self.key}
        changed = [n for n in names if before['key'].get(n) != self.key.get(n)]
        return changed + [name for name in stages if name not in before['stages']]

    def has(self, split: str, stages: Sequence[str]) -> bool:
        """Whether a run that broke off later wrote these features of a split whole."""
        try:
            before = json.loads((self._unfinished / split / _KEY).read_text())
        except (OSError, ValueError):
            return False
        return before == self._split_content(split, stages)

    def write(
        self,
        split: str,
        batches: Iterable[tuple[Mapping[str, torch.Tensor], list[int]]],
        size: int,
    ) -> None:
        """Write a split's features batch by batch; :meth:`finish` makes them valid.

        Args:
            split (str): Its name.
            batches (Iterable): Features (B, C) by the stage's name, and labels.
            size (int): Number of images.
        """
        folder = self._unfinished / split
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        arrays: dict[str, np.memmap] = {}
        labels: list[int] = []
        for features, batch_labels in batches:
            at = slice(len(labels), len(labels) + len(batch_labels))
            for name, x in features.items():
                if name not in arrays:
                    arrays[name] = np.lib.format.open_memmap(
                        folder / f'{name}.npy', 'w+', np.float32, (size, x.size(1))
                    )
                arrays[name][at] = x.float().cpu().numpy()
            labels += batch_labels
        for array in arrays.values():
            array.flush()
        np.save(folder / f'{_LABELS}.npy', np.asarray(labels, np.int64))
        content = json.dumps(self._split_content(split, list(arrays)))
        write_atomically(folder / _KEY, content.encode())

    def finish(self, stages: Sequence[str]) -> None:
        """Replace older features by what was written, which has these stages."""
        content = json.dumps(dict(key=self.key, stages=list(stages)))
        write_atomically(self._unfinished / _KEY, content.encode())
        shutil.rmtree(self.folder, ignore_errors=True)
        os.replace(self._unfinished, self.folder)

    def read(self, split: str) -> FeatureSet:
        """A split's features, memory-mapped."""
        return FeatureSet(
            {name: self._load(split, name) for name in self._content()['stages']},
            self._load(split, _LABELS),
        )

    def _split_content(self, split: str, stages: Sequence[str]) -> dict:
        """What the features of a split depend on: not on the images of others."""
        return dict(key=self._shared, data=self._data.get(split), stages=sorted(stages))

    def _content(self) -> dict:
        return json.loads((self.folder / _KEY).read_text())

    def _load(self, split: str, name: str) -> np.ndarray:
        return np.load(self.folder / split / f'{name}.npy', mmap_mode='r')

    @property
    def _unfinished(self) -> Path:
        return self.folder.with_name(f'.{self.folder.name}.writing')


def hash_file(path: str | Path) -> str:
    """SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        for block in iter(lambda: file.read(2**20), b''):
            digest.update(block)
    return digest.hexdigest()


def hash_text(value: object) -> str:
    """SHA-256 of nested settings, independent of the order of their names."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def hash_dataset(dataset: BaseDataset) -> str:
    """A hash that changes with a data set's images or labels.

    Images in memory are hashed by their bytes, those on disk by name, size and date:
    reading them all would take as long as computing their features.

    Args:
        dataset (BaseDataset): An MMEngine data set, with or without wrappers.
    """
    digest = hashlib.sha256()
    for i in range(len(dataset)):
        info = dataset.get_data_info(i)
        digest.update(f'{info.get("gt_label")} '.encode())
        image, path = info.get('img'), info.get('img_path')
        if image is not None:
            digest.update(np.ascontiguousarray(image).tobytes())
        elif path is not None:
            digest.update(f'{path} {_state(path)}\n'.encode())
    return digest.hexdigest()


def _state(path: str) -> str:
    try:
        state = os.stat(path)
    except OSError:  # on other storage than a file system
        return ''
    return f'{state.st_size} {state.st_mtime_ns}'
