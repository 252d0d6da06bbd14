"""tools/dataset_converters/check_imagenet.py, on three classes."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from preparation import imagenet
from preparation.imagenet import Counts

from tests.test_tools.converters import caller, cut, rows, state

CLASSES = ('n01440764', 'n01443537', 'n02105855')
SMALL = Counts(classes=3, train=12, val=6, val_labels={})


@pytest.fixture(scope='module', params=['flat', 'folders'])
def whole(request, tmp_path_factory):
    root = tmp_path_factory.mktemp('imagenet')
    rng = np.random.default_rng(0)
    train, val = [], []
    for label, name in enumerate(CLASSES):
        for i in range(4):
            train.append((f'{name}/{name}_{i}.JPEG', label))
        for i in range(2):
            file = f'ILSVRC2012_val_{label + 3 * i + 1:08d}.JPEG'
            val.append(
                (f'{name}/{file}' if request.param == 'folders' else file, label)
            )
    (root / 'meta').mkdir()
    for split, entries in (('train', train), ('val', sorted(val))):
        for path, _ in entries:
            file = root / split / path
            file.parent.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(file, 'JPEG')
        lines = [f'{path} {label}\n' for path, label in entries]
        (root / f'meta/{split}.txt').write_text(''.join(lines))
    # as one file of the real set, a PNG under the name of a JPEG
    odd = root / 'train' / CLASSES[2] / f'{CLASSES[2]}_0.JPEG'
    Image.fromarray(pixels).save(odd, 'PNG')
    return root


@pytest.fixture
def root(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / 'imagenet'))


@pytest.fixture
def run(capsys):
    return caller('check_imagenet', capsys, SMALL)


def is_flat(root):
    return not (root / 'val' / CLASSES[0]).is_dir()


def test_a_whole_folder_is_right_and_stays_as_it_is(run, whole):
    before = state(whole)
    for argv in ([], ['--full'], ['--workers', 1], ['--write-meta']):
        code, out, _ = run(whole, *argv)
        assert code == 0, out
        assert rows(out) == {
            'train classes': (3, 3, 'ok'),
            'train images': (12, 12, 'ok'),
            **({} if is_flat(whole) else {'val classes': (3, 3, 'ok')}),
            'val images': (6, 6, 'ok'),
            'meta/train.txt': (12, 12, 'ok'),
            'meta/val.txt': (6, 6, 'ok'),
        }
    assert state(whole) == before


def test_the_real_counts():
    assert (Counts().classes, Counts().train, Counts().val) == (1000, 1281167, 50000)


@pytest.mark.parametrize('split', ['train', 'val'])
def test_upstreams_dataset_reads_the_layout(whole, split):
    from mmcls.datasets import ImageNet

    dataset = ImageNet(
        data_root=str(whole),
        ann_file=f'meta/{split}.txt',
        data_prefix=split,
        metainfo=dict(classes=CLASSES),
    )
    assert len(dataset) == getattr(SMALL, split)
    assert set(dataset.get_gt_labels()) == {0, 1, 2}
    assert all(Path(item['img_path']).is_file() for item in dataset)


@pytest.mark.parametrize('split', ['train', 'val'])
def test_missing_lists_are_written_when_asked(run, root, split):
    path = root / f'meta/{split}.txt'
    expected = path.read_text()
    path.unlink()
    before = state(root)
    code, out, _ = run(root)
    assert code == 1 and rows(out)[f'meta/{split}.txt'][2] == 'missing'
    assert state(root) == before

    code, out, error = run(root, '--write-meta')
    if split == 'val' and is_flat(root):
        assert code == 1 and not path.exists()
        assert 'val.txt of caffe_ilsvrc12.tar.gz' in out
        assert 'which does not tell their classes' in error
    else:
        assert code == 0, out
        assert path.read_text() == expected
        assert sorted(expected.splitlines()) == expected.splitlines()


def test_no_list_is_written_of_what_is_incomplete(run, root):
    (root / 'meta/train.txt').unlink()
    shutil.rmtree(root / 'train' / CLASSES[1])
    code, out, error = run(root, '--write-meta')
    assert code == 1 and not (root / 'meta/train.txt').exists()
    assert 'train has 8 images in 2 classes, 12 in 3 are expected' in error
    assert 'ILSVRC2012_img_train.tar' in out


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


FIRST = f'{CLASSES[0]}/{CLASSES[0]}_0.JPEG'
DAMAGES = {
    'empty image': (
        lambda r: (r / 'train' / FIRST).write_bytes(b''),
        'train images',
        f'train/{FIRST}: the file is empty',
    ),
    'cut image': (
        lambda r: cut(r / 'train' / FIRST),
        'train images',
        f'train/{FIRST}: the JPEG file is truncated',
    ),
    'cut PNG called JPEG': (
        lambda r: cut(r / 'train' / CLASSES[2] / f'{CLASSES[2]}_0.JPEG'),
        'train images',
        'the PNG file is truncated',
    ),
    'no image': (
        lambda r: (r / 'train' / FIRST).write_text('<html>'),
        'train images',
        f'train/{FIRST}: not an image',
    ),
    'dangling link': (
        lambda r: dangle(r / 'train' / FIRST),
        'train images',
        f'train/{FIRST}: No such file',
    ),
    'image gone': (
        lambda r: (r / 'train' / FIRST).unlink(),
        'meta/train.txt',
        f'there is no image train/{FIRST}',
    ),
    'train not unpacked': (
        lambda r: pack(r / 'train' / CLASSES[0]),
        'train classes',
        f'train/{CLASSES[0]}.tar: one of 1 archives still to be unpacked',
    ),
    'val gone': (lambda r: shutil.rmtree(r / 'val'), 'val images', 'img_val.tar'),
    'wrong label': (
        lambda r: edit(r / 'meta/train.txt', f'{FIRST} 0', f'{FIRST} 2'),
        'meta/train.txt',
        f'line 1: {FIRST} has label 2, its class is number 0',
    ),
    'no label': (
        lambda r: edit(r / 'meta/train.txt', f'{FIRST} 0', FIRST),
        'meta/train.txt',
        f"line 1: '{FIRST}' is not a file name and its label",
    ),
    'label too high': (
        lambda r: edit(r / 'meta/val.txt', '.JPEG 2', '.JPEG 3'),
        'meta/val.txt',
        'is not a file name and its label',
    ),
    'listed twice': (
        lambda r: edit(r / 'meta/train.txt', '_1.JPEG 0', '_0.JPEG 0'),
        'meta/train.txt',
        f'line 2: {FIRST} is listed already',
    ),
    'list cut short': (
        lambda r: edit(r / 'meta/train.txt', f'{FIRST} 0\n', ''),
        'meta/train.txt',
        '--write-meta writes meta/train.txt',
    ),
}


@pytest.mark.parametrize('whole', ['flat'], indirect=True)
def test_labels_in_the_order_of_the_devkit_are_refused(capsys, root):
    """A flat val has no folders to compare labels with, but known lines."""
    known = {'ILSVRC2012_val_00000001.JPEG': 0}
    run = caller('check_imagenet', capsys, replace(SMALL, val_labels=known))
    assert run(root)[0] == 0
    path = root / 'meta/val.txt'
    lines = [line.split() for line in path.read_text().splitlines()]
    text = ''.join(f'{name} {(int(label) + 1) % 3}\n' for name, label in lines)
    path.write_text(text)
    code, out, _ = run(root)
    assert code == 1 and rows(out)['meta/val.txt'][2] == 'wrong'
    assert 'line 1: ILSVRC2012_val_00000001.JPEG has label 1, it must be 0' in out
    assert Counts().val_labels['ILSVRC2012_val_00000001.JPEG'] == 65  # of 1000


def test_hidden_files_of_macos_are_named(run, root, monkeypatch):
    monkeypatch.setattr(imagenet, 'SAMPLE', 2)
    hidden = root / 'train' / CLASSES[1] / f'._{CLASSES[1]}_1.JPEG'
    hidden.write_bytes(b'\0\5\26\7')
    code, out, _ = run(root)
    assert code == 1 and rows(out)['train images'] == (12, 12, 'wrong')
    assert f'train/{CLASSES[1]}/{hidden.name}: a hidden file' in out


def dangle(path):
    path.unlink()
    path.symlink_to('nowhere')


def pack(folder):
    shutil.rmtree(folder)
    folder.with_suffix('.tar').write_bytes(b'packed')


@pytest.mark.parametrize('name', DAMAGES)
def test_damage_is_told(run, root, name):
    damage, part, message = DAMAGES[name]
    damage(root)
    before = state(root)
    for argv in ([], ['--full']):
        code, out, error = run(root, *argv)
        assert code == 1
        assert rows(out)[part][2] != 'ok', out
        assert message in out, out
        assert 'are not in order' in error
    assert state(root) == before


@pytest.mark.parametrize('whole', ['folders'], indirect=True)
def test_one_class_only_in_val(run, root):
    (root / 'val' / CLASSES[1]).rename(root / 'val/n09999999')
    code, out, _ = run(root)
    assert code == 1
    assert 'val/n09999999: a class of only one of train and val' in out


@pytest.mark.parametrize('whole', ['flat'], indirect=True)
def test_a_flat_val_needs_every_class(run, root):
    path = root / 'meta/val.txt'
    path.write_text(path.read_text().replace('.JPEG 2', '.JPEG 1'))
    code, out, _ = run(root)
    assert code == 1 and 'meta/val.txt: has 2 of 3 labels' in out


def test_full_opens_what_the_sample_leaves_out(run, root, monkeypatch):
    """In workers as without, and the same sample each time."""
    monkeypatch.setattr(imagenet, 'SAMPLE', 3)  # of 12: the 1st, the 12th, one between
    cut(root / 'train' / CLASSES[0] / f'{CLASSES[0]}_1.JPEG')
    assert run(root)[0] == 0
    outputs = {run(root, '--full', '--workers', workers)[:2] for workers in (1, 2)}
    assert len(outputs) == 1
    ((code, out),) = outputs
    assert code == 1 and f'{CLASSES[0]}_1.JPEG: the JPEG file is truncated' in out
    cut(root / 'train' / CLASSES[2] / f'{CLASSES[2]}_3.JPEG')
    assert f'{CLASSES[2]}_3.JPEG: the JPEG file is truncated' in run(root)[1]


def test_no_folder_is_one_sentence(run, tmp_path):
    code, out, error = run(tmp_path / 'none')
    assert (code, out) == (1, '')
    assert error.startswith('error: there is no folder') and error.count('\n') == 1


def test_an_empty_folder_names_all_there_is_to_get(run, tmp_path):
    code, out, _ = run(tmp_path)
    assert code == 1
    for name in ('ILSVRC2012_img_train.tar', 'ILSVRC2012_img_val.tar', '--write-meta'):
        assert name in out
