"""Small images in memory: which of them a part holds, and that they are the files'."""

from pathlib import Path

import numpy as np
import pytest
from mmengine.registry import init_default_scope
from mmselfsup.registry import DATASETS
from PIL import Image

from mmaccel.engine.config import load_config, prepare_config
from mmaccel.errors import ConfigError
from research.parts import FolderInMemory

CONFIG = str(Path(__file__).parents[2] / 'research/configs/mocov2_r18_cifar10.py')
FILES = {'cat': 'abcdefg', 'dog': 'abcd', 'eel': 'ab'}


def write(folder, size=12):
    """PNG files of noise; their arrays in RGB by name."""
    rng = np.random.default_rng(0)
    arrays = {}
    for kind, names in FILES.items():
        (folder / kind).mkdir(parents=True)
        for name in reversed(names):  # the order of names is not that of writing
            array = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
            Image.fromarray(array).save(folder / kind / f'{name}.png')
            arrays[f'{kind}/{name}'] = array
    return arrays


def content(dataset):
    """Names with their labels."""
    found = {}
    for i in range(len(dataset)):
        info = dataset.get_data_info(i)
        path = Path(info['img_path'])
        found[f'{path.parent.name}/{path.stem}'] = info['gt_label']
    assert len(found) == len(dataset)
    return found


def test_of_each_class_every_so_many_th_is_held_out(tmp_path):
    write(tmp_path)
    held_out = content(FolderInMemory(str(tmp_path), 'held_out', every=3))
    assert held_out == {'cat/c': 0, 'cat/f': 0, 'dog/c': 1}
    train = content(FolderInMemory(str(tmp_path), 'train', every=3))
    assert train == {
        **dict.fromkeys(['cat/a', 'cat/b', 'cat/d', 'cat/e', 'cat/g'], 0),
        **dict.fromkeys(['dog/a', 'dog/b', 'dog/d'], 1),
        **dict.fromkeys(['eel/a', 'eel/b'], 2),
    }
    everything = content(FolderInMemory(str(tmp_path)))
    assert everything == {**train, **held_out}
    assert len(everything) == 13


def test_pixels_are_those_of_the_files(tmp_path):
    arrays = write(tmp_path)
    dataset = FolderInMemory(str(tmp_path), every=2)
    assert dataset.metainfo['classes'] == ('cat', 'dog', 'eel')
    for i in range(len(dataset)):
        info = dataset.get_data_info(i)
        path = Path(info['img_path'])
        expected = arrays[f'{path.parent.name}/{path.stem}'][..., ::-1]  # BGR
        assert np.array_equal(info['img'], expected)
        path.unlink()
        info['img'][:] = 0  # as a transform in place would
        assert np.array_equal(dataset.get_data_info(i)['img'], expected)


@pytest.mark.parametrize('fast', [True, False])
def test_views_are_those_of_images_read_from_the_disk(tmp_path, fast):
    write(tmp_path, size=40)
    cfg = load_config(CONFIG, dict(fast_views=fast))
    cfg.train_dataloader.dataset.update(data_root=str(tmp_path), part='all')
    plain = load_config(CONFIG, dict(fast_views=fast))
    plain.train_dataloader.dataset = dict(
        type='UnlabelledFolder',
        data_root=str(tmp_path),
        pipeline=[
            dict(type='LoadImageFromFile'),
            *plain.train_dataloader.dataset.pipeline,
        ],
    )
    init_default_scope('mmselfsup')
    ours, theirs = (
        DATASETS.build(prepare_config(c).train_dataloader.dataset) for c in (cfg, plain)
    )
    loader = cfg.train_dataloader.dataset.dataset.pipeline[0].type
    assert loader == ('LoadViews' if fast else 'MultiView')
    assert len(ours) == len(theirs) == 13
    for i in (0, 7, 12):
        one, other = ours[ours.stamp(0, i)], theirs[theirs.stamp(0, i)]
        assert one['data_samples'].img_path == other['data_samples'].img_path
        assert len(one['inputs']) == len(other['inputs']) == 2
        for x, y in zip(one['inputs'], other['inputs']):
            assert x.shape == (3, 32, 32) and x.equal(y)
        assert not one['inputs'][0].equal(one['inputs'][1])


@pytest.mark.parametrize('damage', ['empty', 'text', 'truncated'])
def test_a_damaged_image_is_named(tmp_path, damage):
    write(tmp_path)
    path = tmp_path / 'dog' / 'b.jpg'
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    whole = path.read_bytes()
    half = {'empty': b'', 'text': b'not an image', 'truncated': whole[:-900]}[damage]
    path.write_bytes(half)
    with pytest.raises(ConfigError, match=r'dog/b\.jpg: .*; replace or remove it'):
        FolderInMemory(str(tmp_path))


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(part='val'), "part='val' is unknown; use one of .*held_out"),
        (dict(every=1), 'every=1 holds out all images; use 2 or more'),
        (dict(part='held_out', every=8), 'has 8 images, .* lower every'),
    ],
)
def test_arguments_that_make_no_sense_are_refused(tmp_path, arguments, message):
    write(tmp_path)
    with pytest.raises(ConfigError, match=message):
        FolderInMemory(str(tmp_path), **arguments)


@pytest.mark.parametrize('layout', ['nothing', 'flat', 'missing'])
def test_a_folder_without_classes_is_refused(tmp_path, layout):
    folder = tmp_path / 'set'
    if layout != 'missing':
        folder.mkdir()
    if layout == 'flat':
        Image.new('RGB', (8, 8)).save(folder / 'a.png')
    with pytest.raises(ConfigError, match='set has no images in <class>/; set data_ro'):
        FolderInMemory(str(folder))
