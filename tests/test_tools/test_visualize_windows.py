"""tools/analysis_tools/visualize_windows.py."""

import importlib.util
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import torch
from mmengine.config import Config

from tests.builders import build, moco_config
from tests.folder_run import write_config, write_images

TOOL = Path(__file__).parents[2] / 'tools' / 'analysis_tools' / 'visualize_windows.py'


@pytest.fixture(scope='module')
def tool():
    spec = importlib.util.spec_from_file_location('visualize_windows', TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A config, a checkpoint of its model and five images."""
    monkeypatch.setattr('mmengine.config.config.FormatCode', lambda x, **_: (x, True))
    write_images(tmp_path / 'images', number=5)
    config = write_config(tmp_path / 'cfg.py', tmp_path / 'images', accel=True)
    model = build(Config.fromfile(config).model)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'epoch_1.pth')
    return tmp_path


def argv(run, **options):
    given = dict(images=run / 'images', out=run / 'out', **options)
    flags = [str(x) for key, value in given.items() for x in (f'--{key}', value)]
    return [str(run / 'cfg.py'), str(run / 'epoch_1.pth'), *flags]


def orange(path):
    image = matplotlib.image.imread(path)[..., :3]
    return (np.abs(image - np.array([0xE6, 0x9F, 0]) / 255).max(-1) < 0.02).sum()


def test_a_picture_an_image_and_a_sheet(tool, run, capsys):
    assert tool.main(argv(run)) == 0
    pictures = sorted(path.name for path in (run / 'out').glob('*.png'))
    assert len(pictures) == 6 and pictures[-1] == 'sheet.png'
    assert all(orange(run / 'out' / name) > 500 for name in pictures)
    printed = capsys.readouterr().out
    # 3 cells after stage 2, whose window is ceil(2.25): nothing to choose
    assert 'stage 1: loss' in printed and 'stage 2: picked without a loss' in printed
    assert 'Wrote 5 pictures' in printed


def test_sample_photographs_are_the_default(tool, run, capsys):
    command = argv(run)
    del command[2:4]
    assert tool.main(command) == 0
    assert {path.name for path in (run / 'out').iterdir()} == {
        '000_china.png',
        '001_flower.png',
        'sheet.png',
    }


def test_same_seed_same_windows(tool, run, capsys, monkeypatch):
    monkeypatch.setattr(tool, 'draw_windows', lambda *_: None)
    monkeypatch.setattr(tool, 'draw_sheet', lambda *_: None)
    lines = []
    for seed in (1, 1, 2):
        assert tool.main(argv(run, num=2, seed=seed)) == 0
        lines.append([x for x in capsys.readouterr().out.splitlines() if 'loss' in x])
    assert len(lines[0]) == 2
    assert lines[0] == lines[1] != lines[2]


def test_batches_that_a_queue_takes(tool):
    assert tool.batches_of(5, 32) == [range(0, 4), range(1, 5)]
    assert tool.batches_of(6, None) == [range(0, 6)]
    assert tool.batches_of(8, 65536) == [range(0, 8)]
    assert tool.batches_of(7, 12) == [range(0, 6), range(1, 7)]


def refused(tool, command, capsys):
    assert tool.main(command) == 1
    error = capsys.readouterr().err
    assert error.startswith('error: ') and error.count('\n') == 1
    return error


def test_wrong_checkpoints_are_refused(tool, run, capsys):
    path = run / 'epoch_1.pth'
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert 'damaged' in refused(tool, argv(run), capsys)
    baseline = build(moco_config(accel=False))
    torch.save(dict(state_dict=baseline.state_dict()), path)
    error = refused(tool, argv(run), capsys)
    assert "not one of this config's model" in error and 'missing in it' in error
    other = build(moco_config(queue_len=64, crop_layer=dict(type='HardPairCropLayer')))
    torch.save(dict(state_dict=other.state_dict()), path)
    assert 'queues.0.features' in refused(tool, argv(run), capsys)
    path.unlink()
    assert 'there is no checkpoint' in refused(tool, argv(run), capsys)
    assert not (run / 'out').exists()


def test_models_without_windows_are_refused(tool, run, capsys):
    write_config(
        run / 'cfg.py', run / 'images', accel=True, **{'model.crop_layer': None}
    )
    assert 'cuts no windows' in refused(tool, argv(run), capsys)
    write_config(run / 'cfg.py', run / 'images')
    assert 'has no Accel model but model.type=' in refused(tool, argv(run), capsys)


def test_images_that_are_not_there(tool, run, capsys):
    (run / 'empty').mkdir()
    command = argv(run)
    command[command.index('--images') + 1] = str(run / 'empty')
    assert 'give --images a folder' in refused(tool, command, capsys)
    assert 'at least 2' in refused(tool, argv(run, num=1), capsys)
