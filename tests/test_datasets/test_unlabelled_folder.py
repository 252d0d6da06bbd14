import os

import pytest
from PIL import Image

from mmaccel.datasets import UnlabelledFolder
from mmaccel.errors import ConfigError


def make(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (4, 4)).save(path, 'PNG')
    return str(folder)


def found(dataset, root):
    paths = [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
    return [os.path.relpath(path, root) for path in paths]


def test_finds_images_at_any_depth_in_a_fixed_order(tmp_path):
    root = make(
        tmp_path, 'b.JPG', 'a.png', 'x/y/z.jpeg', 'x/c.WebP', 'notes.txt', '._a.png'
    )
    make(tmp_path, '.cache/d.png')
    dataset = UnlabelledFolder(data_root=root)
    assert found(dataset, root) == ['a.png', 'b.JPG', 'x/c.WebP', 'x/y/z.jpeg']
    assert {dataset.get_data_info(i)['gt_label'] for i in range(4)} == {-1}


def test_follows_links_once(tmp_path):
    root = make(tmp_path / 'photos', 'a.png')
    make(tmp_path / 'elsewhere', 'b.png')
    os.symlink(tmp_path / 'elsewhere', tmp_path / 'photos' / 'linked')
    os.symlink(tmp_path / 'photos', tmp_path / 'photos' / 'loop')
    dataset = UnlabelledFolder(data_root=root)
    assert found(dataset, root) == ['a.png', 'linked/b.png']


@pytest.mark.parametrize('prefix', ['train/', dict(img_path='train/')])
def test_uses_upstreams_prefix_where_it_exists(tmp_path, prefix):
    root = make(tmp_path, 'train/a.png', 'val/b.png')
    kwargs = dict(data_root=root, data_prefix=prefix, ann_file='meta/train.txt')
    assert found(UnlabelledFolder(**kwargs), root) == ['train/a.png']


def test_uses_the_whole_folder_where_the_prefix_does_not_exist(tmp_path):
    root = make(tmp_path, 'a.png', 'b/c.png')
    dataset = UnlabelledFolder(data_root=root, data_prefix=dict(img_path='train/'))
    assert found(dataset, root) == ['a.png', 'b/c.png']


def test_prefix_alone_is_the_folder(tmp_path):
    root = make(tmp_path, 'a.png')
    assert found(UnlabelledFolder(data_prefix=root), root) == ['a.png']


def test_runs_its_pipeline(tmp_path):
    pipeline = [dict(type='LoadImageFromFile'), dict(type='PackSelfSupInputs')]
    dataset = UnlabelledFolder(data_root=make(tmp_path, 'a.png'), pipeline=pipeline)
    assert dataset[0]['inputs'][0].shape == (3, 4, 4)


def test_missing_folder_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r'none does not exist; set .*data_root'):
        UnlabelledFolder(data_root=str(tmp_path / 'none'))
    with pytest.raises(ConfigError, match=r'\(none given\) does not exist'):
        UnlabelledFolder()


def test_folder_without_images_is_refused(tmp_path):
    (tmp_path / 'notes.txt').write_text('nothing to see')
    with pytest.raises(ConfigError, match=r'no image under .*\.jpg.*data_root'):
        UnlabelledFolder(data_root=str(tmp_path))


def test_images_that_are_not_read_are_counted(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(
        'mmaccel.datasets.unlabelled_folder.print_log',
        lambda text, *_: said.append(text),
    )
    for name in ('a.jpg', 'b.gif', 'deep/c.gif', 'notes.txt'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b'x')
    assert len(UnlabelledFolder(data_root=str(tmp_path))) == 1
    assert [text for text in said if '2 .gif' in text]
