"""Files from anyone: no file crashes a command or runs code in it."""

import os
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer, MMLogger
from packaging.version import Version
from torch import nn

from mmaccel.cli import main
from mmaccel.compat.safe_checkpoints import PlainPickle
from mmaccel.engine import checkpoint_reader
from mmaccel.engine.checkpoint_reader import read_checkpoint, read_run
from mmaccel.engine.weights import read_weights
from mmaccel.errors import ConfigError
from mmaccel.evaluation.recipe import describe, parse_config
from tests.folder_run import write_config, write_images


@pytest.fixture(params=[True, False], ids=['by torch', 'before 2.6'])
def reader(request, monkeypatch):
    """Each way of reading, whatever this torch's own is."""
    if request.param:
        if Version(torch.__version__) < Version('2.6'):
            pytest.skip('this torch reads anything')
        return
    options = dict(weights_only=False, pickle_module=PlainPickle)
    monkeypatch.setattr(checkpoint_reader, '_SAFELY', options)


class Call:
    """Pickles as a call, with a state if one is given."""

    def __init__(self, function, *arguments, state=None):
        self.reduced = (function, arguments) + ((state,) if state else ())

    def __reduce__(self):
        return self.reduced


OBJECTS = Call(np.dtype, 'O', False, True)
RECONSTRUCT = np.empty(0).__reduce__()[0]
DOUBLE = (3, '<', None, None, None, -1, -1, 0)
HOSTILE = {
    'command': Call(os.system, 'touch executed'),
    'pointers as an array': Call(
        HistoryBuffer,
        *[Call(np.ndarray, (2,), OBJECTS, b'A' * 16)] * 2,
    ),
    'reconstructed pointers': Call(
        RECONSTRUCT, np.ndarray, (0,), b'b', state=(1, (2,), OBJECTS, False, b'A' * 16)
    ),
    'shape beyond the data': Call(
        RECONSTRUCT,
        np.ndarray,
        (0,),
        b'b',
        state=(1, (1 << 40,), np.dtype('f8'), False, b'A' * 16),
    ),
    'type with a state': Call(
        np.dtype, 'f8', False, False, state=(*DOUBLE[:5], 4096, 1, 0)
    ),
    'pointer as a number': Call(
        np.float64(0).__reduce__()[0], OBJECTS, b'A' * 8
    ),
}  # fmt: skip


def contents(hostile):
    """A run's checkpoint with something hostile in it."""
    return dict(
        meta=dict(epoch=1, iter=4, hostile=hostile),
        message_hub=dict(log_scalars={}, runtime_info={}, resumed_keys={}),
        state_dict={'backbone.conv1.weight': torch.ones(8, 3, 7, 7)},
    )


def write_other(path, kind):
    """A file that is no checkpoint, or one that is damaged."""
    weights = dict(state_dict=nn.Linear(2, 2).state_dict())
    if kind == 'torchscript':
        torch.jit.save(torch.jit.script(nn.Linear(2, 2)), path)
    elif kind == 'zip':
        with zipfile.ZipFile(path, 'w') as archive:
            archive.writestr('readme.txt', 'hello')
    elif kind == 'cut off':
        torch.save(weights, path)
        path.write_bytes(path.read_bytes()[:-100])
    elif kind == 'not finite':
        torch.save(dict(state_dict={'a': torch.tensor([0.0, torch.nan])}), path)
    elif kind == 'larger than its data':
        torch.save(dict(state_dict={'a': torch.zeros(1).expand(1 << 40)}), path)
    elif kind == 'list':
        torch.save([1, 2], path)
    elif kind == 'all zero':
        torch.save({'a.weight': torch.zeros(2, 2), 'a.bias': torch.ones(2)}, path)
    elif kind == 'variance below zero':
        torch.save({'a.running_var': torch.tensor([1.0, -1.0])}, path)
    elif kind == 'whole numbers':
        torch.save({'a.weight': torch.ones(2, 2, dtype=torch.int8)}, path)
    elif kind == 'arrays':
        with open(path, 'wb') as file:
            np.savez(file, a=np.ones(3))
    elif kind == 'optimizer':
        torch.save(dict(optimizer={'state': {}}, epoch=3), path)
    elif kind == 'tar':
        torch.save(weights, inner := path.with_suffix('.inner'))
        with tarfile.open(path, 'w') as archive:
            archive.add(inner)
    elif kind == 'torch.export':
        program = torch.export.export(nn.Linear(2, 2), (torch.ones(1, 2),))
        torch.export.save(program, path.with_suffix('.pt2'))
        path.with_suffix('.pt2').rename(path)
    elif kind == 'folder':
        path.mkdir()
    else:
        path.write_bytes(OTHERS[kind][0])


OTHERS = {
    'empty': (b'', 'is empty'),
    'page': (b'<!DOCTYPE html><html>', 'web page'),
    'lfs': (b'version https://git-lfs.github.com/spec/v1\n', 'git lfs pull'),
    'gzip': (b'\x1f\x8b\x08', 'compressed'),
    'page with a mark': (b'\xef\xbb\xbf<!DOCTYPE html>', 'web page'),
    'text': (b'model = dict()\n', 'is text'),
    'answer': (b'{"message": "Not Found"}', 'is text'),
    'unfinished': (bytes(1000), 'zeros'),
    'bytes': (b'\x93NUMPY\x01', 'no checkpoint'),
    'arrays': (None, 'NumPy'),
    'tar': (None, 'tar archive'),
    'folder': (None, 'is a folder'),
    'torch.export': (None, 'torch.export'),
    'optimizer': (None, r'no weights.*optimizer, epoch'),
    'all zero': (None, 'all zero'),
    'whole numbers': (None, 'a.weight.*torch.int8'),
    'variance below zero': (None, 'a.running_var'),
    'torchscript': (None, 'TorchScript'),
    'zip': (None, 'zip archive'),
    'cut off': (None, 'damaged or cut off'),
    'list': (None, 'a list'),
    'not finite': (None, 'not finite'),
    'larger than its data': (None, 'no plain tensor'),
}


@pytest.mark.parametrize('kind', OTHERS)
def test_what_is_no_checkpoint_is_told_by_its_cause(kind, tmp_path, reader):
    write_other(tmp_path / 'x.pth', kind)
    with pytest.raises(ConfigError, match=OTHERS[kind][1]):
        read_weights(tmp_path / 'x.pth')


@pytest.mark.parametrize('kind', HOSTILE)
def test_nothing_hostile_is_read(kind, tmp_path, monkeypatch, reader):
    monkeypatch.chdir(tmp_path)
    torch.save(contents(HOSTILE[kind]), 'x.pth')
    kept = np.dtype('f8').str
    try:
        read = read_checkpoint('x.pth')['meta']['hostile']
    except ConfigError:
        read = None
    assert not isinstance(read, np.ndarray) and not os.path.exists('executed')
    assert np.dtype('f8').str == kept


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Configs of MoCo, of Accel-MoCo and of an evaluation, and labelled images."""
    folder = tmp_path_factory.mktemp('run')
    write_images(folder / 'images', 8)
    for split in ('train', 'test'):
        for name in ('a', 'b'):
            write_images(folder / 'labelled' / split / name, 4)
    write_config(folder / 'run.py', folder / 'images')
    write_config(folder / 'accel.py', folder / 'images', accel=True)
    loader = dict(
        batch_size=4,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(
            type='UnlabelledFolder',
            data_root=str(folder / 'images'),
            pipeline=[dict(type='LoadImageFromFile'), dict(type='PackSelfSupInputs')],
        ),
    )
    evaluation = dict(
        test_dataloader=loader,
        test_cfg=dict(type='TestLoop'),
        test_evaluator=dict(type='mmcls.Accuracy'),
    )
    write_config(folder / 'test.py', folder / 'images', **evaluation)
    return folder


@pytest.mark.parametrize('kind', ['command', 'pointers as an array', 'page', 'list'])
def test_every_command_refuses_it_in_a_sentence(
    kind, folder, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    path = str(tmp_path / 'x.pth')
    if kind in HOSTILE:
        torch.save(contents(HOSTILE[kind]), path)
    else:
        write_other(tmp_path / 'x.pth', kind)
    config, accel, test = (str(folder / f'{n}.py') for n in ('run', 'accel', 'test'))
    work_dir = ['--work-dir', str(tmp_path / 'out')]
    labelled = ['--data-root', str(folder / 'labelled')]
    for argv in (
        ['train', config, '--resume', path, *work_dir],
        ['train', config, '--cfg-options', f'load_from={path}', *work_dir],
        ['train', config, '--pretrained', path, *work_dir],
        ['test', test, path, *work_dir],
        ['export', path, 'y.pth', '--format', 'mmcls'],
        ['features', config, path, '--out', 'y.png', *labelled],
        ['probe', config, path, *work_dir, *labelled],
        ['spread', config, path],
        ['windows', accel, path, '--out', 'windows'],
    ):
        MMLogger._instance_dict.clear()  # they write where tests before did
        assert main(argv) == 1, argv
        err = capsys.readouterr().err
        assert 'error: ' in err and 'Traceback' not in err, (argv, err)
        assert 'x.pth' in err, (argv, err)
        assert not os.path.exists('executed'), argv


def test_a_config_in_a_file_is_never_run(tmp_path):
    content = contents(None)
    content['meta']['config'] = 'import os; os.system("touch executed")'
    torch.save(content, tmp_path / 'x.pth')
    assert 'config' not in read_run(tmp_path / 'x.pth')['meta']


def test_a_foreign_checkpoint_is_no_run(tmp_path):
    torch.save(dict(state_dict=nn.Linear(2, 2).state_dict()), tmp_path / 'epoch_7.pth')
    with pytest.raises(ConfigError, match='no checkpoint of a run'):
        read_run(tmp_path / 'epoch_7.pth')


SGD = torch.optim.SGD([torch.zeros(1)], lr=0.1, momentum=0.9).state_dict()
ODD = {
    'optimizer': [3, dict(state=[1], param_groups=[]), dict(SGD, param_groups=[1])],
    'param_schedulers': ['x', [3], 3],
    'accumulated_gradients': [3, {'a': 3}],
}


def test_a_runs_parts_are_those_of_a_run(tmp_path):
    plain = contents(None)
    plain.update(optimizer=SGD, param_schedulers=[dict(last_step=1)])
    torch.save(plain, tmp_path / 'x.pth')
    assert read_run(tmp_path / 'x.pth')['optimizer'] == SGD
    for name, values in ODD.items():
        for value in values:
            torch.save({**plain, name: value}, tmp_path / 'x.pth')
            with pytest.raises(ConfigError, match=name):
                read_run(tmp_path / 'x.pth')
    torch.save({**plain, 'meta': dict(epoch=1, iter=4, seed='x')}, tmp_path / 'x.pth')
    with pytest.raises(ConfigError, match='seed'):
        read_run(tmp_path / 'x.pth')


@pytest.mark.parametrize(
    'text',
    ['a = ' + '-' * 100_000 + '1', 'a = {[1]}', 'a = ' + '[' * 5000, 'model = [1]'],
    ids=['signs', 'unhashable', 'brackets', 'another kind'],
)
def test_config_texts_from_anyone_are_read_or_left(text):
    assert describe(parse_config(text)) == (None, None)


def test_a_flipped_bit_of_the_directory_is_found(tmp_path, reader):
    weights = {f'w{n}': torch.randn(4) for n in range(3)}
    torch.save(dict(state_dict=weights), tmp_path / 'x.pth')
    content = (tmp_path / 'x.pth').read_bytes()
    start = zipfile.ZipFile(tmp_path / 'x.pth').start_dir
    for bit in range(start * 8, len(content) * 8, 4):  # half of them
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        (tmp_path / 'y.pth').write_bytes(flipped)
        try:
            read = read_checkpoint(tmp_path / 'y.pth')['state_dict']
        except ConfigError:
            continue
        assert all(torch.equal(read[name], x) for name, x in weights.items()), bit


def test_arrays_are_numpys_own_once_saved_again(tmp_path, reader):
    history = HistoryBuffer([1.0, 2.0], [1, 1])
    torch.save(dict(history=history), tmp_path / 'x.pth')
    read = read_checkpoint(tmp_path / 'x.pth')['history']
    assert read.mean() == 1.5
    again = pickle.loads(pickle.dumps(read.data[0]))
    assert type(again) is np.ndarray and again.tolist() == [1.0, 2.0]
