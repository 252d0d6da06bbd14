"""CIFAR-10 as a folder a class, from small files in the dataset's own format."""

import hashlib
import pickle
import tarfile

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import CIFAR10

from tests.processes import load_tool

CLASSES = ['cat', 'dog', 'emu']


@pytest.fixture
def tool(monkeypatch):
    module = load_tool('dataset_converters/cifar10')
    monkeypatch.setattr(module, 'is_complete', lambda out: False)
    return module


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Two training files and one for tests, whose checksums are made known."""
    folder = tmp_path / 'source' / CIFAR10.base_folder
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    contents = {}

    def write(name, content):
        (folder / name).write_bytes(pickle.dumps(content))
        return name, hashlib.md5((folder / name).read_bytes()).hexdigest()

    def batch(name, count):
        contents[name] = dict(
            data=rng.integers(0, 256, (count, 3072), dtype=np.uint8),
            labels=rng.integers(0, 3, count).tolist(),
        )
        return write(name, contents[name])

    train = [batch(f'data_batch_{i}', 7) for i in (1, 2)]
    monkeypatch.setattr(CIFAR10, 'train_list', train)
    monkeypatch.setattr(CIFAR10, 'test_list', [batch('test_batch', 5)])
    name, md5 = write('batches.meta', dict(label_names=CLASSES))
    meta = dict(filename=name, key='label_names', md5=md5)
    monkeypatch.setattr(CIFAR10, 'meta', meta)
    return tmp_path / 'source', contents


def expected(contents):
    """Images by path, in a plain loop."""
    images = {}
    for name, content in contents.items():
        split = 'test' if name.startswith('test') else 'train'
        for row, label in zip(content['data'], content['labels']):
            number = sum(k[:2] == (split, CLASSES[label]) for k in images)
            key = (split, CLASSES[label], f'{number:04d}.png')
            images[key] = row.reshape(3, 32, 32).transpose(1, 2, 0)
    return images


@pytest.mark.parametrize('packed', [False, True])
def test_every_image_in_the_datasets_order(
    tool, data, tmp_path, capsys, packed, monkeypatch
):
    source, contents = data
    if packed:
        folder = tmp_path / 'packed'
        folder.mkdir()
        with tarfile.open(folder / CIFAR10.filename, 'w:gz') as archive:
            archive.add(source / CIFAR10.base_folder, CIFAR10.base_folder)
        source = folder
        again = ['--data', str(folder), '--out', str(tmp_path / 'no')]
        assert tool.main(again) == 1  # not the archive that is known
        assert 'cifar-10-python.tar.gz is damaged' in capsys.readouterr().err
        md5 = hashlib.md5((folder / CIFAR10.filename).read_bytes()).hexdigest()
        monkeypatch.setattr(CIFAR10, 'tgz_md5', md5)
    out = tmp_path / 'data/cifar10'
    assert tool.main(['--data', str(source), '--out', str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    found = {p.relative_to(out).parts: p for p in out.rglob('*.png')}
    images = expected(contents)
    assert set(found) == set(images)
    for key, path in found.items():
        np.testing.assert_array_equal(np.asarray(Image.open(path)), images[key])


def test_what_is_there_is_kept(tool, tmp_path, monkeypatch):
    monkeypatch.undo()
    (tmp_path / 'train/a').mkdir(parents=True)
    (tmp_path / 'test/a').mkdir(parents=True)
    for split, count in tool.IMAGES_PER_CLASS.items():
        for i in range(10 * count - 1):
            (tmp_path / split / 'a' / f'{i}.png').touch()
    assert not tool.is_complete(tmp_path)
    for split in tool.IMAGES_PER_CLASS:
        (tmp_path / split / 'a' / 'last.png').touch()
    assert tool.is_complete(tmp_path)
    tool.prepare(tmp_path / 'nowhere', tmp_path)


def test_damage_and_absence_are_told(tool, data, tmp_path, capsys):
    source, _ = data
    (source / CIFAR10.base_folder / 'data_batch_2').write_bytes(b'half')
    out = tmp_path / 'out'
    assert tool.main(['--data', str(source), '--out', str(out)]) == 1
    assert 'no whole cifar-10-batches-py' in capsys.readouterr().err
    assert not out.exists()
    assert tool.main(['--data', str(tmp_path / 'no'), '--out', str(out)]) == 1
    assert 'there is no folder' in capsys.readouterr().err
