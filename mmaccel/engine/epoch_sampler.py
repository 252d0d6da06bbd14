"""Data order whose indices encode their epoch."""

from collections.abc import Iterator, Sized
from functools import partial
from itertools import count, islice

from mmengine.dataset import DefaultSampler, InfiniteSampler
from mmengine.registry import DATA_SAMPLERS
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


@DATA_SAMPLERS.register_module()
class EndlessSampler(InfiniteSampler):
    """Upstream's ``InfiniteSampler`` for loops that count iterations and are resumed.

    The order is upstream's. As with :class:`EpochSampler`, an index carries how often
    the data were passed through before it, so that the augmentations of a sample depend
    on the seed and its place in the order, not on a worker.

    Args:
        dataset (Sized): The dataset.
        shuffle (bool): Whether to shuffle. Defaults to True.
        seed (int, optional): The same on all ranks; drawn and shared by default.
    """

    def __init__(
        self, dataset: Sized, shuffle: bool = True, seed: int | None = None
    ) -> None:
        super().__init__(dataset, shuffle=shuffle, seed=seed)
        if hasattr(dataset, 'set_seed'):
            dataset.set_seed(self.seed)

    def __iter__(self) -> Iterator[int]:
        """Yield this rank's indices, without end."""
        stamp = getattr(self.dataset, 'stamp', None)
        places = count(self.rank, self.world_size)
        for place, index in zip(places, super().__iter__()):
            yield index if stamp is None else stamp(place // self.size, index)


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
