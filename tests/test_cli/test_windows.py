"""``mmaccel windows``."""

import matplotlib.image
import numpy as np
import pytest
import torch

from mmaccel.analysis import windows_plot
from mmaccel.analysis.windows_run import batches_of
from tests.builders import build, moco_config
from tests.folder_run import write_config, write_images, write_trained
from tests.processes import exit_code


@pytest.fixture
def run(tmp_path):
    """A config, a checkpoint of its model and five images."""
    write_images(tmp_path / 'images', number=5)
    return write_trained(tmp_path, tmp_path / 'images', accel=True)


def command(run, **options):
    given = {'images': run / 'images', 'out': run / 'out', **options}
    flags = [x for key, value in given.items() if value for x in (f'--{key}', value)]
    return exit_code('windows', run / 'cfg.py', run / 'epoch_1.pth', *flags)


def orange(path):
    image = matplotlib.image.imread(path)[..., :3]
    return (np.abs(image - np.array([0xE6, 0x9F, 0]) / 255).max(-1) < 0.02).sum()


def test_a_picture_an_image_and_a_sheet(run, capsys):
    assert command(run) == 0
    pictures = sorted(path.name for path in (run / 'out').glob('*.png'))
    assert len(pictures) == 6 and pictures[-1] == 'sheet.png'
    assert all(orange(run / 'out' / name) > 500 for name in pictures)
    printed = capsys.readouterr().out
    # 3 cells after stage 2, whose window is ceil(2.25): nothing to choose
    assert 'stage 1: loss' in printed and 'stage 2: picked without a loss' in printed
    assert 'Wrote 5 pictures' in printed


def test_pictures_say_which_windows_were_picked(run, monkeypatch):
    legends = []

    def keep(plt, figure, out):
        legends.append([text.get_text() for text in figure.legends[0].texts])

    monkeypatch.setattr(windows_plot, '_save', keep)
    assert command(run, num=2) == 0
    assert len(legends) == 3  # two images and the sheet
    for picked, other in legends:
        assert picked.startswith('picked') and other == 'passed over'


def test_sample_photographs_are_the_default(run, capsys):
    assert command(run, images=None) == 0
    assert {path.name for path in (run / 'out').iterdir()} == {
        '000_china.png',
        '001_flower.png',
        'sheet.png',
    }


def test_same_seed_same_windows(run, capsys, monkeypatch):
    monkeypatch.setattr(windows_plot, 'draw_windows', lambda *_: None)
    monkeypatch.setattr(windows_plot, 'draw_sheet', lambda *_: None)
    lines = []
    for seed in (1, 1, 2):
        assert command(run, num=2, seed=seed) == 0
        lines.append([x for x in capsys.readouterr().out.splitlines() if 'loss' in x])
    assert len(lines[0]) == 2
    assert lines[0] == lines[1] != lines[2]


def test_batches_that_a_queue_takes():
    assert batches_of(5, 32) == [range(0, 4), range(1, 5)]
    assert batches_of(6, None) == [range(0, 6)]
    assert batches_of(8, 65536) == [range(0, 8)]
    assert batches_of(7, 12) == [range(0, 6), range(1, 7)]


def refused(run, capsys, code=1, **options):
    assert command(run, **options) == code
    return capsys.readouterr().err


def test_wrong_checkpoints_are_refused(run, capsys):
    path = run / 'epoch_1.pth'
    baseline = build(moco_config(accel=False))
    torch.save(dict(state_dict=baseline.state_dict()), path)
    error = refused(run, capsys)
    assert "not one of this config's model" in error and 'missing in it' in error
    other = build(moco_config(queue_len=64, crop_layer=dict(type='HardPairCropLayer')))
    torch.save(dict(state_dict=other.state_dict()), path)
    assert 'queues.0.features' in refused(run, capsys)
    assert not (run / 'out').exists()


def test_models_without_windows_are_refused(run, capsys):
    write_config(
        run / 'cfg.py', run / 'images', accel=True, **{'model.crop_layer': None}
    )
    assert 'cuts no windows' in refused(run, capsys)
    write_config(run / 'cfg.py', run / 'images')
    assert 'has no Accel model but model.type=' in refused(run, capsys)


def test_images_that_are_not_there(run, capsys):
    (run / 'empty').mkdir()
    assert '--images' in refused(run, capsys, images=run / 'empty')
    assert 'at least 2' in refused(run, capsys, code=2, num=1)
