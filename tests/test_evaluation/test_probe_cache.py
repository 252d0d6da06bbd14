"""Features on disk: what comes back, and when they are not used."""

import os

import numpy as np
import pytest
import torch
from mmcls.datasets import CustomDataset
from mmengine.registry import init_default_scope
from mmselfsup.registry import DATASETS

from mmaccel.evaluation.cached_features import FeatureCache, hash_dataset, hash_text
from tests.folder_run import write_images
from tests.small_run import labelled, write_dataset


def batches(sizes=(4, 3)):
    generator = torch.Generator().manual_seed(0)
    for size in sizes:
        x, y = (torch.randn(size, d, generator=generator) for d in (2, 5))
        yield dict(stem=x, last=y), list(range(size))


def written(folder, **key):
    cache = FeatureCache(folder, key)
    for split, sizes in (('train', (4, 3)), ('test', (2,))):
        cache.write(split, batches(sizes), sum(sizes))
    cache.finish(['stem', 'last'])
    return cache


def test_features_come_back_as_they_were(tmp_path):
    cache = written(tmp_path / 'features', checkpoint='a')
    stems, lasts = zip(*((f['stem'], f['last']) for f, _ in batches()))
    train = cache.read('train')
    np.testing.assert_array_equal(train.stages['stem'], torch.cat(stems))
    np.testing.assert_array_equal(train.stages['last'], torch.cat(lasts))
    assert train.labels.tolist() == [0, 1, 2, 3, 0, 1, 2]
    assert list(cache.read('test').stages) == ['stem', 'last']
    assert os.listdir(tmp_path) == ['features']


def test_another_key_or_stage_is_named(tmp_path):
    folder = tmp_path / 'features'
    assert FeatureCache(folder, dict(checkpoint='a')).changed() is None
    assert written(folder, checkpoint='a', data='b').changed(['last']) == []
    assert FeatureCache(folder, dict(checkpoint='a', data='c')).changed() == ['data']
    assert FeatureCache(folder, dict(checkpoint='a')).changed() == ['data']
    same = FeatureCache(folder, dict(checkpoint='a', data='b'))
    assert same.changed(['stem', 'middle']) == ['middle']


def test_a_write_that_breaks_off_leaves_the_older_features(tmp_path):
    cache = written(tmp_path / 'features', checkpoint='a')
    before = np.array(cache.read('train').stages['last'])

    def broken():
        yield next(batches())
        raise KeyboardInterrupt

    newer = FeatureCache(tmp_path / 'features', dict(checkpoint='b'))
    with pytest.raises(KeyboardInterrupt):
        newer.write('train', broken(), 7)
    assert newer.changed() == ['checkpoint'] and cache.changed() == []
    np.testing.assert_array_equal(cache.read('train').stages['last'], before)
    written(tmp_path / 'features', checkpoint='b')  # over what was left
    assert newer.changed() == []


def test_a_split_that_was_written_whole_is_kept_for_the_same_features(tmp_path):
    def cache(test='y', **key):
        return FeatureCache(tmp_path / 'features', key, dict(train='x', test=test))

    def broken():
        yield next(batches())
        raise OSError

    stages = ['stem', 'last']
    first = cache(checkpoint='a')
    first.write('train', batches(), 7)
    with pytest.raises(OSError):
        first.write('test', broken(), 7)

    repaired = cache(checkpoint='a', test='z')
    assert repaired.has('train', stages) and not repaired.has('test', stages)
    assert not repaired.has('train', ['stem'])
    assert not cache(checkpoint='b').has('train', stages)
    repaired.write('test', batches((2,)), 2)
    repaired.finish(stages)
    assert repaired.changed(stages) == [] and first.changed() == ['data']
    assert len(repaired.read('train').labels) == 7


def folder_set(root):
    return CustomDataset(data_prefix=str(root), pipeline=[])


def test_a_data_set_is_known_by_its_files(tmp_path):
    for name in 'ab':
        write_images(tmp_path / name, number=2)
    paths = sorted(tmp_path.rglob('*.jpg'))
    first = hash_dataset(folder_set(tmp_path))
    assert hash_dataset(folder_set(tmp_path)) == first

    state = paths[0].stat()
    os.utime(paths[0], ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    second = hash_dataset(folder_set(tmp_path))
    paths[1].rename(paths[1].with_name('z.jpg'))
    third = hash_dataset(folder_set(tmp_path))
    (tmp_path / 'a').rename(tmp_path / 'c')  # other labels
    assert len({first, second, third, hash_dataset(folder_set(tmp_path))}) == 4


def test_images_in_memory_are_known_by_their_pixels(tmp_path):
    init_default_scope('mmselfsup')
    data = write_dataset(tmp_path, num_train=8)

    def hashed():
        return hash_dataset(DATASETS.build(labelled(data, False)['dataset']))

    before = hashed()
    assert hashed() == before
    images = data / 'train-images-idx3-ubyte'
    content = bytearray(images.read_bytes())
    content[-1] ^= 1
    images.write_bytes(bytes(content))
    assert hashed() != before


def test_settings_are_known_whatever_their_order():
    assert hash_text(dict(a=1, b=[2])) == hash_text(dict(b=[2], a=1))
    assert hash_text(dict(a=1)) != hash_text(dict(a=2))
