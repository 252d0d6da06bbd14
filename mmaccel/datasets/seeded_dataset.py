"""Augmentations that depend on seed, epoch and index alone; unreadable files."""

from typing import Any, Protocol

import cv2
from mmengine.logging import print_log
from mmengine.registry import DATASETS
from mmengine.structures import BaseDataElement
from torch.utils.data import Dataset

from mmaccel import host
from mmaccel.errors import TrainingStopped
from mmaccel.seeding import REPLACEMENT, SAMPLE, derived_seeds, seed_host

#: What reading a file can raise; an error of the pipeline itself is not hidden.
_READ_ERRORS = (OSError, EOFError, cv2.error)


class _Samples(Protocol):
    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> dict: ...


@DATASETS.register_module()
class SeededDataset(Dataset):
    """A dataset whose random augmentations are a function of (seed, epoch, index).

    mmengine seeds its loader workers once, so that augmentations depend on the number
    of workers and on everything drawn before, and a resumed run sees other views than
    an uninterrupted one. Here every sample seeds the generators it uses. The epoch
    comes with the index (see :meth:`stamp`); an index without an epoch seeds nothing.

    A sample that cannot be read is replaced by another, drawn likewise; its path and
    the reason reach the main process as ``bad_samples`` in the data sample's meta
    information, where :class:`BadSampleHook` logs and counts them.

    Args:
        dataset (dict or Dataset): The dataset, or its config.
        max_tries (int): Consecutive samples that may fail. Defaults to 20.

    Raises:
        TrainingStopped: On access, if ``max_tries`` samples in a row are unreadable.

    Note:
        Access seeds the global CPU generators of Python, NumPy and torch. Everything
        else, such as ``metainfo``, is the wrapped dataset's.
    """

    def __init__(self, dataset: dict | _Samples, max_tries: int = 20) -> None:
        self.dataset: _Samples = (
            host.build(DATASETS, dataset) if isinstance(dataset, dict) else dataset
        )
        self.max_tries = max_tries
        self._seed = 0

    def set_seed(self, seed: int) -> None:
        """Set the seed of the run; must be called before loader workers start."""
        self._seed = seed

    def stamp(self, epoch: int, index: int) -> int:
        """Index that also encodes the epoch (from 0) in which it is used."""
        return (epoch + 1) * len(self) + index

    def __len__(self) -> int:
        return len(self.dataset)

    def __getattr__(self, name: str) -> Any:
        if name == 'dataset':  # not there yet while unpickling
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __getitem__(self, index: int) -> dict:
        stamp, index = divmod(index, len(self))  # stamp 0: no epoch given
        wanted = index
        bad: list[tuple[str, str]] = []
        for attempt in range(self.max_tries):
            counters = (self._seed, max(stamp, 0), wanted, attempt)
            if stamp > 0:
                seed_host(SAMPLE, *counters)
            try:
                sample = self.dataset[index]
            except _READ_ERRORS as error:
                bad.append((self._path(index, error), _reason(error)))
                index = derived_seeds(REPLACEMENT, *counters)[0] % len(self)
                continue
            return _with_record(sample, bad) if bad else sample
        path, reason = bad[-1]
        raise TrainingStopped(
            f'{self.max_tries} images in a row could not be read, the last was {path} '
            f'({reason}); check that the data folder is complete and mounted'
        )

    def _path(self, index: int, error: BaseException) -> str:
        path = getattr(error, 'path', None) or getattr(error, 'filename', None)
        if path is None and hasattr(self.dataset, 'get_data_info'):
            path = self.dataset.get_data_info(index).get('img_path')
        return f'sample {index}' if path is None else str(path)


def _reason(error: BaseException) -> str:
    reason = getattr(error, 'reason', None) or getattr(error, 'strerror', None)
    return str(reason or str(error) or type(error).__name__)


def _with_record(sample: dict, bad: list[tuple[str, str]]) -> dict:
    """Record the replaced samples where the main process reads them."""
    data_sample = sample.get('data_samples') if isinstance(sample, dict) else None
    if isinstance(data_sample, BaseDataElement):
        data_sample.set_metainfo(dict(bad_samples=bad))
    else:  # nothing to write on
        for path, reason in bad:
            print_log(f'Replaced unreadable image {path} ({reason})', logger='current')
    return sample
