"""Log which images could not be read, and stop where they are many."""

from collections.abc import Iterator

import torch
from mmengine.dist import all_gather_object, all_reduce, get_world_size
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement

from mmaccel.errors import TrainingStopped


@HOOKS.register_module()
class BadSampleHook(Hook):
    """Log and count the images that :class:`SeededDataset` had to replace.

    A few damaged files in a million should not end a run of days; many show that
    something is wrong with the data.

    Training stops once more than ``max_fraction`` of the images are bad: distinct bad
    files on all ranks, relative to the images seen so far (at least 1000, at most the
    whole set). A single bad file never stops a run, however small the set.

    Args:
        max_fraction (float): Tolerated share of bad images, 0 to 1. Defaults to 0.01.
        interval (int): With several ranks, iterations between two exchanges of their
            findings. Defaults to 50.

    Raises:
        ValueError: If ``max_fraction`` or ``interval`` is out of range.
        TrainingStopped: If too many images are bad.

    Note:
        With several ranks, one reduction of two numbers every ``interval`` iterations.
    """

    priority = 'VERY_HIGH'
    _MIN_SEEN = 1000

    def __init__(self, max_fraction: float = 0.01, interval: int = 50) -> None:
        if not 0 <= max_fraction <= 1 or interval < 1:
            raise ValueError(
                'BadSampleHook needs max_fraction from 0 to 1 and an interval of at '
                f'least 1, got {max_fraction} and {interval}'
            )
        self.max_fraction = max_fraction
        self.interval = interval
        self._bad: dict[str, str] = {}  # path: reason
        self._found: dict[str, str] = {}  # since the last exchange
        self._read = 0  # likewise
        self._seen = 0

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: object = None
    ) -> None:
        """Collect what was replaced in this batch."""
        for sample in _data_samples(data_batch):
            self._read += 1
            self._found.update(sample.metainfo.get('bad_samples', ()))
        if get_world_size() == 1 or self.every_n_inner_iters(batch_idx, self.interval):
            self._exchange(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Exchange the last findings of the epoch."""
        self._exchange(runner)

    def _exchange(self, runner: Runner) -> None:
        """Log the findings of all ranks, and stop if they are many."""
        counts = torch.tensor([self._read, len(self._found)])
        all_reduce(counts)
        self._seen += int(counts[0])
        if counts[1] > 0:
            for found in all_gather_object(self._found):
                for path, reason in found.items():
                    if path not in self._bad:
                        self._bad[path] = reason
                        runner.logger.warning(
                            f'Replaced unreadable image {path} ({reason}); '
                            f'{len(self._bad)} so far'
                        )
            self._check(runner)
        self._found, self._read = {}, 0

    def _check(self, runner: Runner) -> None:
        total = len(runner.train_dataloader.dataset)
        considered = min(total, max(self._seen, self._MIN_SEEN))
        if len(self._bad) > max(self.max_fraction * considered, 1):
            path, reason = next(reversed(self._bad.items()))
            raise TrainingStopped(
                f'{len(self._bad)} of {considered} images could not be read, more than '
                f'{self.max_fraction:.2%}; repair or remove the files named in the '
                f'log (the last is {path}: {reason}), or tolerate more with '
                "dict(type='BadSampleHook', max_fraction=...) in custom_hooks"
            )


def _data_samples(data_batch: object) -> Iterator[BaseDataElement]:
    samples = data_batch.get('data_samples') if isinstance(data_batch, dict) else None
    for sample in samples or ():
        if isinstance(sample, BaseDataElement):
            yield sample
