import pytest
from mmengine.dataset import DefaultSampler
from torch.utils.data import BatchSampler

from mmaccel.datasets import SeededDataset
from mmaccel.engine import EpochSampler


@pytest.mark.parametrize('epoch', [0, 3])
def test_order_is_upstreams(epoch):
    data = list(range(10))
    samplers = [cls(data, seed=7) for cls in (DefaultSampler, EpochSampler)]
    for sampler in samplers:
        sampler.set_epoch(epoch)
    assert list(samplers[0]) == list(samplers[1])


def test_indices_carry_the_epoch():
    dataset = SeededDataset(list(range(10)))
    sampler = EpochSampler(dataset, seed=7)
    plain = DefaultSampler(dataset, seed=7)
    for epoch in (0, 1, 5):
        sampler.set_epoch(epoch)
        plain.set_epoch(epoch)
        assert [divmod(i, 10) for i in sampler] == [(epoch + 1, i) for i in plain]


def test_indices_decode_in_a_sliced_dataset():
    """mmengine's ``num_batch_per_epoch`` shortens the length the sampler sees."""
    from mmengine.runner.runner import _SlicedDataset

    dataset = SeededDataset(list(range(10)))
    sampler = EpochSampler(_SlicedDataset(dataset, 4), seed=7)
    sampler.set_epoch(2)
    assert sorted(divmod(i, len(dataset)) for i in sampler) == [
        (3, i) for i in range(4)
    ]


def test_skip_leaves_out_the_first_samples_once():
    sampler = EpochSampler(list(range(12)), seed=7)
    batches = list(BatchSampler(sampler, 3, drop_last=True))
    sampler.skip(2 * 3)
    assert list(BatchSampler(sampler, 3, drop_last=True)) == batches[2:]
    assert list(BatchSampler(sampler, 3, drop_last=True)) == batches
    assert len(sampler) == 12


def test_seed_reaches_the_dataset_and_changes_the_order():
    dataset = SeededDataset(list(range(10)))
    sampler = EpochSampler(dataset, seed=7)
    assert dataset._seed == 7
    sampler.set_seed(8)
    assert dataset._seed == 8
    assert list(sampler) == list(EpochSampler(SeededDataset(list(range(10))), seed=8))
    assert list(sampler) != list(EpochSampler(SeededDataset(list(range(10))), seed=7))
