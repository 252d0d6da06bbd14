"""Data order whose indices encode their epoch."""

from collections.abc import Iterator, Sized
from functools import partial
from itertools import islice

from mmengine.dataset import DefaultSampler
from mmselfsup.registry import DATA_SAMPLERS
from torch.utils.data import DataLoader


@DATA_SAMPLERS.register_module()
class EpochSampler(DefaultSampler):
    """Upstream's ``DefaultSampler`` for runs that can be killed and resumed.

    The order is upstream's, a function of seed and epoch. Each index carries its epoch
    to a :class:`SeededDataset`, so that loader workers, which prefetch and may persist
    for many epochs, need no shared state. With any other dataset indices are plain.

    Args:
        dataset (Sized): The dataset.
        shuffle (bool): Whether to shuffle. Defaults to True.
        seed (int, optional): The same on all ranks; drawn and shared by default.
        round_up (bool): Whether to repeat samples until all ranks have equally many.
            Defaults to True.
    """

    def __init__(
        self,
        dataset: Sized,
        shuffle: bool = True,
        seed: int | None = None,
        round_up: bool = True,
    ) -> None:
        super().__init__(dataset, shuffle=shuffle, seed=seed, round_up=round_up)
        self._skip = 0
        self.set_seed(self.seed)

    def set_seed(self, seed: int) -> None:
        """Set another seed, also for the dataset: a resumed run's is known late."""
        self.seed = seed
        if hasattr(self.dataset, 'set_seed'):
            self.dataset.set_seed(seed)

    def skip(self, num_samples: int) -> None:
        """Skip the first samples of the next pass, which are done already."""
        self._skip = num_samples

    def __iter__(self) -> Iterator[int]:
        """Yield this rank's indices of the current epoch."""
        skip, self._skip = self._skip, 0
        indices = islice(super().__iter__(), skip, None)
        stamp = getattr(self.dataset, 'stamp', None)
        return indices if stamp is None else map(partial(stamp, self.epoch), indices)


def epoch_sampler(dataloader: DataLoader) -> EpochSampler | None:
    """The data loader's :class:`EpochSampler`, wherever it sits, None without one."""
    for owner in (dataloader, dataloader.batch_sampler):
        sampler = getattr(owner, 'sampler', None)
        if isinstance(sampler, EpochSampler):
            return sampler
    return None


def images_per_rank(dataloader: DataLoader) -> int | None:
    """Batch size of one rank; None where a batch sampler does not tell."""
    if dataloader.batch_size is not None:
        return dataloader.batch_size
    return getattr(dataloader.batch_sampler, 'batch_size', None)
