import pickle
import random

import numpy as np
import pytest
import torch
from mmengine.dataset import default_collate
from mmselfsup.structures import SelfSupDataSample
from torch.utils.data import DataLoader, Dataset

from mmaccel.datasets import SeededDataset
from mmaccel.datasets.checked_image import UnreadableImageError
from mmaccel.engine import EpochSampler
from mmaccel.errors import TrainingStopped


class Draws(Dataset):
    """What each generator draws for a sample; some samples cannot be read."""

    metainfo = dict(name='draws')

    def __init__(self, length=12, bad=(), error=None):
        self.length = length
        self.bad = set(bad)
        self.error = error or UnreadableImageError('broken.jpg', 'the file is empty')

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        if index in self.bad:
            raise self.error
        numbers = [random.random(), np.random.rand(), torch.rand(1).item()]
        sample = SelfSupDataSample(metainfo=dict(index=index))
        return dict(inputs=[torch.tensor(numbers)], data_samples=sample)


def numbers(sample):
    return sample['inputs'][0].tolist()


def test_sample_depends_on_seed_epoch_and_index_alone():
    dataset = SeededDataset(Draws())
    dataset.set_seed(3)
    first = numbers(dataset[dataset.stamp(2, 5)])
    dataset[dataset.stamp(0, 1)]
    torch.manual_seed(9)
    assert numbers(dataset[dataset.stamp(2, 5)]) == first
    others = [numbers(dataset[dataset.stamp(*key)]) for key in ((2, 6), (3, 5), (0, 5))]
    dataset.set_seed(4)
    others.append(numbers(dataset[dataset.stamp(2, 5)]))
    assert all(a != b for other in others for a, b in zip(other, first))


def test_index_without_an_epoch_leaves_the_generators_alone():
    dataset = SeededDataset(Draws())
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    draws = [numbers(dataset[5])[2], numbers(dataset[-7])[2]]
    assert draws == expected.tolist()
    assert dataset[-7]['data_samples'].index == 5


def batches(num_workers, persistent=False, epochs=2):
    dataset = SeededDataset(Draws())
    sampler = EpochSampler(dataset, seed=11)
    loader = DataLoader(
        dataset,
        batch_size=4,
        sampler=sampler,
        num_workers=num_workers,
        persistent_workers=persistent,
        collate_fn=default_collate,
    )
    result = []
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        result += [batch['inputs'][0].tolist() for batch in loader]
    return result


def test_batches_do_not_depend_on_the_workers():
    expected = batches(0)
    assert batches(1) == expected
    assert batches(3, persistent=True) == expected
    assert expected[:3] != expected[3:]


def test_other_attributes_are_the_datasets():
    dataset = SeededDataset(Draws())
    assert dataset.metainfo == dict(name='draws') and len(dataset) == 12
    with pytest.raises(AttributeError):
        _ = dataset.nothing
    assert len(pickle.loads(pickle.dumps(dataset))) == 12


def test_unreadable_sample_is_replaced_and_recorded():
    dataset = SeededDataset(Draws(bad=[5, 6]))
    dataset.set_seed(3)
    stamped = dataset.stamp(0, 5)
    sample = dataset[stamped]
    assert sample['data_samples'].index not in (5, 6)
    assert sample['data_samples'].bad_samples[0] == ('broken.jpg', 'the file is empty')
    again = dataset[stamped]
    assert numbers(again) == numbers(sample)
    assert again['data_samples'].index == sample['data_samples'].index
    later = {dataset[dataset.stamp(e, 5)]['data_samples'].index for e in range(8)}
    assert len(later) > 1  # not always the same neighbour
    assert 'bad_samples' not in dataset[dataset.stamp(0, 1)]['data_samples']


def test_path_comes_from_the_error_or_the_annotations():
    error = FileNotFoundError(2, 'No such file or directory', 'gone.jpg')
    dataset = SeededDataset(Draws(bad=[5], error=error))
    record = dataset[5]['data_samples'].bad_samples
    assert record == [('gone.jpg', 'No such file or directory')]
    inner = Draws(bad=[5], error=EOFError())
    inner.get_data_info = lambda index: dict(img_path=f'{index}.jpg')
    record = SeededDataset(inner)[5]['data_samples'].bad_samples
    assert record == [('5.jpg', 'EOFError')]


def test_gives_up_where_nothing_can_be_read():
    dataset = SeededDataset(Draws(bad=range(12)), max_tries=5)
    with pytest.raises(TrainingStopped, match=r'5 images in a row.*broken.jpg.*empty'):
        dataset[0]


def test_errors_of_the_pipeline_are_not_hidden():
    dataset = SeededDataset(Draws(bad=[0], error=KeyError('img')))
    with pytest.raises(KeyError):
        dataset[0]
