"""tools/dataset_converters/prepare_voc.py, on a devkit of a dozen images."""

import io
import os
import shutil
import signal
import tarfile
import zipfile
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from preparation.voc import ARCHIVES, SBD, SPLITS, TEST_07, TRAINVAL_07, TRAINVAL_12
from scipy.io import savemat

from tests import voc_set
from tests.processes import load_tool
from tests.test_tools.converters import caller, cut, rows, state
from tests.voc_set import make_voc

tool = load_tool('dataset_converters/prepare_voc')

TRAIN, TEST = 8, 4
COUNTS = {'trainval': TRAIN, 'test': TEST, 'train': 4, 'val': TEST, 'aug': 4}
SMALL = [replace(split, count=COUNTS[split.name]) for split in SPLITS]
LISTS = 'VOC2012/ImageSets/Segmentation'


@pytest.fixture(scope='module')
def given(tmp_path_factory):
    """The four archives; ``original`` is the devkit they were made from."""
    root = tmp_path_factory.mktemp('given')
    original = make_voc(root / 'original', TRAIN, TEST, size=48)
    archives = root / 'archives'
    archives.mkdir()
    held_out = ids(original, 'VOC2007/ImageSets/Main/test.txt')
    for name, year, keep in (
        (TRAINVAL_07, 'VOC2007', lambda stem: stem not in held_out),
        (TEST_07, 'VOC2007', lambda stem: stem in held_out),
        (TRAINVAL_12, 'VOC2012', lambda stem: True),
    ):
        with tarfile.open(archives / name, 'w') as tar:
            for path in sorted((original / year).rglob('*')):
                inner = path.relative_to(original).as_posix()
                kept = keep('test' if path.parent.name == 'Main' else path.stem)
                if path.parent.name == 'Main':
                    kept = (path.stem == 'test') == (name == TEST_07)
                elif path.is_file():
                    kept = keep(path.stem)
                made_here = 'Aug' in inner or path.stem == 'aug'
                if path.is_dir() or (kept and not made_here):
                    tar.add(path, f'VOCdevkit/{inner}', recursive=False)
    make_sbd(archives / SBD, original)
    return namedtuple('Given', 'original archives')(original, archives)


def ids(devkit, path):
    return (devkit / path).read_text().split()


def make_sbd(path, original, drop_mask=None, damage=None):
    """SBD's own lists share images with VOC's train and val, as the real ones do."""
    aug, train, val = (
        ids(original, f'{LISTS}/{name}.txt') for name in ('aug', 'train', 'val')
    )
    members = {}
    for name in [*aug, train[0], val[0]]:
        mask = np.array(Image.new('L', (48, 48)))
        if name in aug:
            mask = np.array(
                Image.open(original / f'VOC2012/SegmentationClassAug/{name}.png')
            )
        file = io.BytesIO()
        savemat(file, {'GTcls': {'Segmentation': mask}}, do_compression=True)
        members[f'cls/{name}.mat'] = file.getvalue()
    if drop_mask is not None:
        del members[f'cls/{aug[drop_mask]}.mat']
    if damage is not None:
        members[f'cls/{aug[damage]}.mat'] = b'no matrix'
    for name, listed in (('train', [*aug[:3], val[0]]), ('val', [*aug[3:], train[0]])):
        members[f'{name}.txt'] = ''.join(f'{n}\n' for n in listed).encode()
    with tarfile.open(path, 'w:gz') as tar:
        for name, data in members.items():
            add(tar, f'benchmark_RELEASE/dataset/{name}', data)


def add(tar, name, data=b'', **attributes):
    member = tarfile.TarInfo(name)
    member.size = len(data)
    for key, value in attributes.items():
        setattr(member, key, value)
    tar.addfile(member, io.BytesIO(data))


@pytest.fixture(scope='module')
def prepared(given, tmp_path_factory):
    out = tmp_path_factory.mktemp('prepared') / 'VOCdevkit'
    argv = ['--out', str(out), '--archives', str(given.archives)]
    assert tool.main(argv, SMALL) == 0
    return out


@pytest.fixture
def devkit(prepared, tmp_path):
    """A complete devkit of the test's own."""
    return Path(shutil.copytree(prepared, tmp_path / 'VOCdevkit'))


@pytest.fixture
def run(capsys):
    return caller('prepare_voc', capsys, SMALL)


def indices(path):
    with Image.open(path) as mask:
        assert mask.mode in ('P', 'L')
        return np.array(mask)


def test_the_archives_become_the_devkit_they_were_made_from(given, prepared):
    original = given.original
    for path in original.rglob('*'):
        inner = path.relative_to(original)
        if path.is_dir() or 'Aug' in str(inner) or path.name == 'aug.txt':
            continue
        assert (prepared / inner).read_bytes() == path.read_bytes(), inner
    assert not list(prepared.rglob('.*'))  # nothing is left of the unpacking

    train, val, aug, trainaug = (
        ids(prepared, f'{LISTS}/{name}.txt')
        for name in ('train', 'val', 'aug', 'trainaug')
    )
    assert aug == ids(original, f'{LISTS}/aug.txt')
    assert len(trainaug) == len(set(trainaug)) == len(train) + len(aug)
    assert set(trainaug) == set(train) | set(aug)
    assert not set(trainaug) & set(val)
    folder = prepared / 'VOC2012/SegmentationClassAug'
    assert {path.stem for path in folder.iterdir()} == {*train, *val, *aug}
    for name in (*train, *val, *aug):
        source = 'SegmentationClassAug' if name in aug else 'SegmentationClass'
        np.testing.assert_array_equal(
            indices(folder / f'{name}.png'),
            indices(original / f'VOC2012/{source}/{name}.png'),
        )
    assert any(255 in indices(folder / f'{name}.png') for name in train)


def test_the_real_counts():
    """As the challenges' pages and mmseg's converter (AUG_LEN) give them."""
    counts = {(split.part, split.name): split.count for split in SPLITS}
    assert counts == {
        ('voc2007', 'trainval'): 5011,
        ('voc2007', 'test'): 4952,
        ('voc2012', 'train'): 1464,
        ('voc2012', 'val'): 1449,
        ('sbd', 'aug'): 10582 - 1464,
    }


def test_a_second_run_and_a_check_write_nothing(run, given, devkit):
    before = state(devkit)
    for argv in (['--archives', given.archives], ['--check'], ['--check', '--full']):
        code, out, _ = run('--out', devkit, *argv)
        assert code == 0, out
        table = rows(out)
        assert len(table) == 16 and all(row[2] == 'ok' for row in table.values())
        assert table['VOC2012 train + aug'] == (8, 8, 'ok')
        assert table['VOC2007 test Annotations'] == (4, 4, 'ok')
    assert state(devkit) == before


def paint(path, value=None, mode=None, size=None):
    with Image.open(path) as image:
        mask = image.convert(mode) if mode else image.copy()
    if size:
        mask = mask.resize(size, Image.NEAREST)
    if value is not None:
        mask.putpixel((3, 4), value)
    mask.save(path)


def append(path, line):
    path.write_text(path.read_text() + line + '\n')


DAMAGES = {
    'list gone': (
        lambda d: (d / 'VOC2007/ImageSets/Main/test.txt').unlink(),
        'VOC2007 test.txt',
        'VOC2007/ImageSets/Main/test.txt: missing or empty',
        TEST_07,
    ),
    'image gone': (
        lambda d: (d / 'VOC2007/JPEGImages/000003.jpg').unlink(),
        'VOC2007 trainval JPEGImages',
        'VOC2007/JPEGImages/000003.jpg: missing',
        TRAINVAL_07,
    ),
    'dangling link': (
        lambda d: dangle(d / 'VOC2007/JPEGImages/000003.jpg'),
        'VOC2007 trainval JPEGImages',
        'VOC2007/JPEGImages/000003.jpg: missing',
        TRAINVAL_07,
    ),
    'image empty': (
        lambda d: cut(d / 'VOC2007/JPEGImages/000010.jpg', 0),
        'VOC2007 test JPEGImages',
        'VOC2007/JPEGImages/000010.jpg: the file is empty',
        TEST_07,
    ),
    'image cut': (
        lambda d: cut(d / 'VOC2012/JPEGImages/2007_000001.jpg'),
        'VOC2012 train JPEGImages',
        'the JPEG file is truncated',
        TRAINVAL_12,
    ),
    'image is none, of the right size': (
        lambda d: zero(d / 'VOC2012/JPEGImages/2007_000010.jpg'),
        'VOC2012 val JPEGImages',
        'VOC2012/JPEGImages/2007_000010.jpg: not an image',
        TRAINVAL_12,
    ),
    'annotation cut': (
        lambda d: cut(d / 'VOC2007/Annotations/000012.xml'),
        'VOC2007 test Annotations',
        'not a readable annotation',
        TEST_07,
    ),
    'mask with a 21st class': (
        lambda d: paint(d / 'VOC2012/SegmentationClass/2007_000002.png', 21),
        'VOC2012 train SegmentationClass',
        'holds the value 21; only 0 to 20 and 255',
        TRAINVAL_12,
    ),
    'mask in colours': (
        lambda d: paint(d / 'VOC2012/SegmentationClass/2007_000011.png', mode='RGB'),
        'VOC2012 val SegmentationClass',
        'is of mode RGB, not of class numbers',
        TRAINVAL_12,
    ),
    'mask with its palette turned': (
        lambda d: turn_palette(d / 'VOC2012/SegmentationClass/2007_000002.png'),
        'VOC2012 train SegmentationClass',
        "2007_000002.png: shows the class 0 in another colour than VOC's",
        TRAINVAL_12,
    ),
    'list in two columns': (
        lambda d: in_columns(d / LISTS / 'aug.txt'),
        'VOC2012 aug.txt',
        'aug.txt: line 1 is not the name of an image alone',
        SBD,
    ),
    'list with a byte-order mark': (
        lambda d: mark(d / LISTS / 'aug.txt'),
        'VOC2012 aug.txt',
        'a byte-order mark',
        SBD,
    ),
    'augmented mask of another size': (
        lambda d: paint(
            d / 'VOC2012/SegmentationClassAug/2007_000007.png', size=(48, 40)
        ),
        'VOC2012 aug SegmentationClassAug',
        'is 48 x 40 pixels, its image 48 x 48',
        SBD,
    ),
    'augmented masks gone': (
        lambda d: shutil.rmtree(d / 'VOC2012/SegmentationClassAug'),
        'VOC2012 aug SegmentationClassAug',
        '2007_000005.png: missing',
        SBD,
    ),
    'list with a double': (
        lambda d: append(d / 'VOC2007/ImageSets/Main/trainval.txt', '000002'),
        'VOC2007 trainval.txt',
        'lists 000002 more than once',
        TRAINVAL_07,
    ),
    'aug has an image of train': (
        lambda d: append(d / LISTS / 'aug.txt', '2007_000002'),
        'VOC2012 train + aug',
        'lists 1 images of train.txt, such as 2007_000002',
        SBD,
    ),
    'aug has an image of val': (
        lambda d: append(d / LISTS / 'aug.txt', '2007_000012'),
        'VOC2012 train + aug',
        'lists 1 images of val.txt, such as 2007_000012',
        SBD,
    ),
    'trainaug is another list': (
        lambda d: append(d / LISTS / 'trainaug.txt', '2007_000012'),
        'VOC2012 train + aug',
        'trainaug.txt: is not train.txt and aug.txt together',
        SBD,
    ),
}


def dangle(path):
    path.unlink()
    path.symlink_to(path.with_name('nowhere'))


def turn_palette(path):
    """Other numbers in the same colours: the picture looks as before."""
    with Image.open(path) as mask:
        colours = np.reshape(mask.getpalette(), (-1, 3))
        values = np.array(mask)
    values = np.where(values < 21, (values.astype(int) + 1) % 21, values)
    colours[:21] = np.roll(colours[:21], 1, axis=0)
    image = Image.fromarray(values.astype(np.uint8))
    image.putpalette(colours.ravel().tolist())
    image.save(path)


def in_columns(path):
    lines = [f'/JPEGImages/{n}.jpg /Masks/{n}.png\n' for n in path.read_text().split()]
    path.write_text(''.join(lines))


def mark(path):
    path.write_bytes(b'\xef\xbb\xbf' + path.read_bytes())


BOX = '<xmin>1</xmin><ymin>2</ymin><xmax>9</xmax><ymax>9</ymax>'


@pytest.mark.parametrize(
    ('old', 'new', 'told'),
    [
        ('<xmax>9', '<xmax>1', 'line 4: the box of the car is empty or inverted'),
        ('<ymax>9', '<ymax>1', 'line 4: the box of the car is empty or inverted'),
        ('>0</diff', '>Unspecified</diff', "line 3: <difficult> is 'Unspecified'"),
        ('>0</diff', '></diff', 'line 3: <difficult> is None'),
        ('>48</width', '>48.0</width', "line 1: <width> is '48.0'"),
        ('<xmin>1', '<xmin>nan', "line 4: <xmin> is 'nan'"),
        ('<ymin>2</ymin>', '', 'line 4: <bndbox> has no <ymin>'),
        (f'<bndbox>{BOX}</bndbox>', '', 'line 2: the car has no <bndbox>'),
        ('<name>car</name>', '', 'line 2: <name> is None'),
        ('car', 'Car', "line 2: <name> is 'Car'"),
        ('</object>', '', 'not a readable annotation: mismatched tag: line 5'),
        ('<xmin>1<', '<xmin>45.70000076293945<', 'inverted'),
        ('<xmax>9', '<xmax>480', 'line 4: the box of the car leaves the image'),
        ('<ymin>2', '<ymin>-5', 'line 4: the box of the car leaves the image'),
        ('>48</height>', '>0</height>', 'line 1: <height> is 0'),
        (
            '<annotation>',
            '<?xml version="1.0" encoding="gbk"?><annotation>',
            'encoding',
        ),
        ('<annotation>', '<?xml version="1.0" encoding="no"?><annotation>', 'encoding'),
        ('<xmax>9', '<xmax>48', None),
        ('<xmin>1<', '<xmin>1.7<', None),
        ('<difficult>0</difficult>', '', None),
        ('car', 'car', None),
    ],
)
def test_annotations_are_read_as_mmdet_reads_them(tmp_path, old, new, told):
    from mmdet.datasets import VOCDataset
    from preparation.voc import annotation_fault

    text = (
        '<annotation><size><width>48</width><height>48</height></size>\n<object>'
        '<name>car</name>\n<difficult>0</difficult>\n'
        f'<bndbox>{BOX}</bndbox>\n</object></annotation>'
    )
    path = tmp_path / 'VOC2007/Annotations/a.xml'
    path.parent.mkdir(parents=True)
    assert old in text
    path.write_text(text.replace(old, new))
    (tmp_path / 'list.txt').write_text('a\n')

    fault = annotation_fault(path)

    assert fault is None if told is None else told in fault
    if told is None:
        prefix = dict(sub_data_root='VOC2007/')
        boxes = VOCDataset(
            data_root=f'{tmp_path}/', ann_file='list.txt', data_prefix=prefix
        )
        ((x1, y1, x2, y2),) = (i['bbox'] for i in boxes.get_data_info(0)['instances'])
        assert x1 < x2 and y1 < y2


def test_a_zip_is_no_tar(run, devkit, tmp_path):
    (devkit / LISTS / 'aug.txt').unlink()
    sbd = tmp_path / SBD
    with zipfile.ZipFile(sbd, 'w') as archive:
        archive.writestr('dataset/train.txt', '2007_000001')
    code, text, _ = run('--out', devkit, '--sbd', sbd)
    assert code == 1 and f'{sbd} is a zip archive' in text and 'damaged' not in text


def test_the_colours_are_vocs():
    from preparation.voc import voc_colours

    assert voc_colours().ravel().tolist() == voc_set.palette()
    assert voc_colours()[[1, 15, 255]].tolist() == [
        [128, 0, 0],  # an aeroplane, a person, void
        [192, 128, 128],
        [224, 224, 192],
    ]


def zero(path):
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize('name', DAMAGES)
def test_damage_is_told_by_a_check_and_repaired_from_the_archives(
    run, given, devkit, name
):
    damage, part, message, archive = DAMAGES[name]
    sound = {path: path.read_bytes() for path in devkit.rglob('*') if path.is_file()}
    damage(devkit)
    before = state(devkit)

    code, out, error = run('--out', devkit, '--check')
    assert code == 1
    assert rows(out)[part][2] != 'ok'
    assert message in out, out
    assert f'- get {archive} from' in out
    assert 'are not in order' in error
    assert state(devkit) == before

    code, out, _ = run('--out', devkit, '--archives', given.archives)
    assert code == 0, out
    for path, data in sound.items():
        assert path.read_bytes() == data, path


def test_without_archives_each_is_named_with_its_page_and_option(run, tmp_path):
    out = tmp_path / 'VOCdevkit'
    for argv in (['--check'], []):
        code, text, _ = run('--out', out, *argv)
        assert code == 1
        for archive in ARCHIVES:
            option = 'it with --sbd' if archive.name == SBD else 'its folder with'
            assert (
                f'- get {archive.name} from {archive.page}, and give {option}' in text
            )
        assert all(row[0] == 0 and row[2] == 'missing' for row in rows(text).values())
        assert not out.exists()


def test_only_what_is_asked_for(run, given, tmp_path):
    out = tmp_path / 'VOCdevkit'
    code, text, _ = run('--out', out, '--only', 'voc2007', '--archives', given.archives)
    assert code == 0
    assert all(part.startswith('VOC2007') for part in rows(text))
    assert [path.name for path in out.iterdir()] == ['VOC2007']


def test_sbd_alone_asks_for_voc2012_first(run, given, tmp_path):
    out = tmp_path / 'VOCdevkit'
    code, text, _ = run('--out', out, '--only', 'sbd', '--check')
    assert code == 1
    assert f'- get {TRAINVAL_12}' in text and f'- get {SBD}' in text
    code, text, _ = run('--out', out, '--only', 'sbd', '--sbd', given.archives / SBD)
    assert code == 1 and f'- get {TRAINVAL_12}' in text
    assert f'{given.archives / SBD} can only be used once train.txt and val.txt' in text
    assert not out.exists()

    code, text, _ = run('--out', out, '--only', 'sbd', '--archives', given.archives)
    assert code == 0, text


@pytest.mark.parametrize(
    'inner', ['.', 'benchmark_RELEASE', 'benchmark_RELEASE/dataset']
)
def test_sbd_from_a_folder(run, given, devkit, tmp_path, inner):
    with tarfile.open(given.archives / SBD) as tar:
        tar.extractall(tmp_path / 'sbd')
    masks = devkit / 'VOC2012/SegmentationClassAug'
    sound = {path.name: path.read_bytes() for path in masks.iterdir()}
    shutil.rmtree(masks)
    code, text, _ = run('--out', devkit, '--sbd', tmp_path / 'sbd' / inner)
    assert code == 0, text
    assert {path.name: path.read_bytes() for path in masks.iterdir()} == sound


@pytest.mark.parametrize('archive', [TRAINVAL_07, SBD])
@pytest.mark.parametrize('after', [0, 3, 13])
def test_killed_while_unpacking_it_goes_on(run, given, tmp_path, archive, after):
    """Killed with as many files moved to their names, in the stage or in place."""
    out = tmp_path / 'VOCdevkit'
    part = 'voc2007' if archive == TRAINVAL_07 else 'sbd'
    argv = ['--out', out, '--only', part, '--archives', given.archives]
    if part == 'sbd':
        assert run(*argv[:2], '--only', 'voc2012', *argv[4:])[0] == 0

    child = os.fork()
    if child == 0:
        die_after(after)
        tool.main([str(word) for word in argv], SMALL)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL

    assert run(*argv[:4], '--check')[0] == 1
    half = {path: path.stat().st_mtime_ns for path in out.rglob('*.png')}
    code, text, _ = run(*argv)
    assert code == 0, text
    assert not list(out.rglob('.*')) and not list(out.rglob('*.part'))
    for path in half:  # what was in its place stays
        if '.unpacking' not in str(path):
            assert path.stat().st_mtime_ns == half[path]
    lists = (
        'VOC2007/ImageSets/Main/test.txt' if part == 'voc2007' else f'{LISTS}/aug.txt'
    )
    assert ids(out, lists) == ids(given.original, lists)


def die_after(renames):
    """Kill this process at the rename or replacement after so many."""
    left = [renames]

    def dying(move):
        def call(*args, **kwargs):
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            return move(*args, **kwargs)

        return call

    os.replace, os.rename = dying(os.replace), dying(os.rename)


def test_what_was_unpacked_before_the_kill_is_not_read_again(
    given, tmp_path, monkeypatch
):
    from preparation import TarSource

    out = tmp_path / 'VOCdevkit'
    argv = ['--out', str(out), '--only', 'voc2007', '--archives', str(given.archives)]
    child = os.fork()
    if child == 0:
        die_after(10)
        tool.main(argv, SMALL)
        os._exit(0)
    os.waitpid(child, 0)

    assert tool.main(argv[:4], SMALL) == 1  # without archives: the stage stays
    reads, read = [], TarSource.read
    monkeypatch.setattr(
        TarSource, 'read', lambda self, name: reads.append(name) or read(self, name)
    )
    assert tool.main(argv, SMALL) == 0
    files = [path for path in out.rglob('*') if path.is_file()]
    assert len(reads) == len(files) - 10


@pytest.mark.parametrize(
    ('name', 'attributes'),
    [
        ('VOCdevkit/VOC2007/../../../evil.txt', {}),
        ('/VOC2007/evil.txt', {}),
        ('../VOCdevkit/VOC2007/evil.txt', {}),
        ('VOCdevkit/VOC2007/evil', dict(type=tarfile.SYMTYPE, linkname='/etc')),
        ('VOCdevkit/VOC2007/evil', dict(type=tarfile.LNKTYPE, linkname='../../evil')),
    ],
)
def test_members_that_lead_out_are_refused(run, tmp_path, name, attributes):
    archives, out = tmp_path / 'archives', tmp_path / 'deep' / 'VOCdevkit'
    archives.mkdir()
    with tarfile.open(archives / TRAINVAL_07, 'w') as tar:
        add(tar, 'VOCdevkit/VOC2007/ImageSets/Main/trainval.txt', b'000001\n')
        add(tar, name, b'' if attributes else b'evil', **attributes)
    before = state(tmp_path)
    code, text, _ = run('--out', out, '--only', 'voc2007', '--archives', archives)
    assert code == 1
    assert 'leads out of the folder' in text and name in text
    assert state(tmp_path) == before


def test_a_link_member_is_never_followed(run, given, tmp_path):
    """A link that stays inside is left out; a file behind it makes a real folder."""
    archives, out = tmp_path / 'archives', tmp_path / 'VOCdevkit'
    shutil.copytree(given.archives, archives)
    with tarfile.open(archives / TRAINVAL_07, 'a') as tar:
        link = dict(type=tarfile.SYMTYPE, linkname='JPEGImages')
        add(tar, 'VOCdevkit/VOC2007/link', **link)
        add(tar, 'VOCdevkit/VOC2007/link/file', b'data')
    assert run('--out', out, '--only', 'voc2007', '--archives', archives)[0] == 0
    assert not any(path.is_symlink() for path in out.rglob('*'))
    assert not (out / 'VOC2007/JPEGImages/file').exists()


def test_killed_before_the_last_clearing_up(run, devkit):
    (devkit / 'VOC2007' / f'.unpacking-{TEST_07}' / 'JPEGImages').mkdir(parents=True)
    before = state(devkit)
    assert run('--out', devkit, '--check')[0] == 0 and state(devkit) == before
    assert run('--out', devkit)[0] == 0
    assert not list(devkit.rglob('.*'))


def test_bad_archives_are_refused_before_anything_is_written(run, given, tmp_path):
    archives, out = tmp_path / 'archives', tmp_path / 'VOCdevkit'

    def refused(*argv):
        code, text, error = run('--out', out, *argv)
        assert code == 1 and not out.exists()
        return text + error

    archives.mkdir()
    for name, part in ((TRAINVAL_07, 'voc2007'), (TRAINVAL_12, 'voc2012')):
        archive = Path(shutil.copy(given.archives / name, archives))
        sound = archive.read_bytes()
        with tarfile.open(archive) as tar:
            image = next(m for m in tar if m.name.endswith('.jpg'))
        middle = image.offset_data + image.size // 2
        for data in (
            sound[:middle],
            b'',
            sound[: image.offset + 100],  # in a header: tarfile takes it for the end
            sound[: image.offset] + b'?' * 512 + sound[image.offset_data :],
        ):
            archive.write_bytes(data)
            error = refused('--only', part, '--archives', archives)
            assert f'{archive} is damaged or incomplete' in error
        archive.unlink()

    shutil.copy(given.archives / TRAINVAL_12, archives / TRAINVAL_07)
    error = refused('--only', 'voc2007', '--archives', archives)
    assert 'has no folder VOC2007' in error
    assert '--archives' in refused('--archives', tmp_path / 'none')
    assert '--sbd' in refused('--sbd', tmp_path / 'none')


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(drop_mask=1), 'lacks 1 masks, such as'),
        (dict(damage=1), 'is damaged'),
        ('cut', 'is damaged or incomplete'),
        ('other', 'has no masks cls/*.mat'),
        ('short', 'has 3 images that VOC 2012'),
    ],
)
def test_a_bad_sbd_changes_nothing_in_place(
    run, given, devkit, tmp_path, change, message
):
    sbd = tmp_path / SBD
    make_sbd(sbd, given.original, **(change if isinstance(change, dict) else {}))
    if change == 'cut':
        cut(sbd)
    elif change == 'other':
        shutil.copy(given.archives / TRAINVAL_07, sbd)
    elif change == 'short':
        with tarfile.open(sbd) as tar:
            tar.extractall(tmp_path / 'sbd')
        sbd = tmp_path / 'sbd'
        path = sbd / 'benchmark_RELEASE/dataset/train.txt'
        path.write_text('\n'.join(path.read_text().split()[1:]))
    shutil.rmtree(devkit / 'VOC2012/SegmentationClassAug')
    (devkit / LISTS / 'aug.txt').unlink()
    code, text, _ = run('--out', devkit, '--sbd', sbd)
    assert code == 1 and message in text
    assert not (devkit / 'VOC2012/SegmentationClassAug').exists()
    assert not (devkit / LISTS / 'aug.txt').exists()


def test_an_archive_that_does_not_help_is_named(run, given, tmp_path):
    archives, out = tmp_path / 'archives', tmp_path / 'VOCdevkit'
    archives.mkdir()
    with (
        tarfile.open(given.archives / TRAINVAL_12) as whole,
        tarfile.open(archives / TRAINVAL_12, 'w') as less,
    ):
        for member in whole.getmembers():
            if member.isfile() and not member.name.endswith('2007_000002.png'):
                less.addfile(member, whole.extractfile(member))
    code, text, _ = run('--out', out, '--only', 'voc2012', '--archives', archives)
    assert code == 1
    assert rows(text)['VOC2012 train SegmentationClass'] == (3, 4, 'incomplete')
    assert f'{archives / TRAINVAL_12} did not repair this' in text


def test_a_full_disk_is_told_before_writing(run, given, tmp_path, monkeypatch):
    out = tmp_path / 'VOCdevkit'
    usage = namedtuple('usage', 'total used free')(10, 9, 1000)
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: usage)
    code, text, _ = run('--out', out, '--archives', given.archives)
    assert code == 1 and 'make room' in text and '--out' in text
    assert not [path for path in out.rglob('*') if path.is_file()]


def test_a_linked_devkit(run, given, devkit, tmp_path):
    """Checked without a write, and filled in behind the link."""
    linked = tmp_path / 'linked'
    linked.mkdir()
    for year in ('VOC2007', 'VOC2012'):
        (linked / year).symlink_to(devkit / year)
    before = state(devkit), state(linked)
    assert run('--out', linked, '--check')[0] == 0
    assert (state(devkit), state(linked)) == before

    (devkit / 'VOC2007/JPEGImages/000001.jpg').unlink()
    assert run('--out', linked, '--archives', given.archives)[0] == 0
    assert (devkit / 'VOC2007/JPEGImages/000001.jpg').is_file()
    assert (linked / 'VOC2007').is_symlink()


def test_upstreams_datasets_read_it(prepared):
    from mmdet.datasets import VOCDataset
    from mmseg.datasets import PascalVOCDataset

    boxes = VOCDataset(
        data_root=f'{prepared}/',
        ann_file='VOC2007/ImageSets/Main/trainval.txt',
        data_prefix=dict(sub_data_root='VOC2007/'),
        pipeline=[],
    )
    assert len(boxes) == TRAIN
    masks = PascalVOCDataset(
        data_root=f'{prepared}/VOC2012',
        data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClassAug'),
        ann_file='ImageSets/Segmentation/trainaug.txt',
        pipeline=[dict(type='mmseg.LoadAnnotations')],
    )
    assert len(masks) == COUNTS['train'] + COUNTS['aug']
    seen = {value for item in masks for value in np.unique(item['gt_seg_map']).tolist()}
    assert len(seen) > 2 and seen <= {*range(21), 255}


def test_check_takes_no_archives(given, capsys):
    with pytest.raises(SystemExit) as exit_info:
        tool.main(['--check', '--archives', str(given.archives)])
    assert exit_info.value.code == 2
    assert 'writes nothing' in capsys.readouterr().err
