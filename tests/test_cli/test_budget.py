"""``mmaccel budget``."""

import json

import pytest

from mmaccel.analysis import budget
from mmaccel.analysis.loading import Delivery, LoadingRunner
from mmaccel.engine.config import load_config
from tests.folder_run import write_config, write_images
from tests.processes import exit_code

FROZEN = [
    dict(until=0.5, exit_probs=(0, 0, 0, 1)),
    dict(until=1.0, exit_probs=(0, 0, 0, 1), entry_probs=(0, 1)),
]


@pytest.fixture(scope='module')
def paths(tmp_path_factory):
    """A config with baseline and sibling, and where their images would be."""
    folder = tmp_path_factory.mktemp('configs')
    baseline = write_config(folder / 'moco.py', folder / 'images', epochs=3)
    config = write_config(
        folder / 'accel.py', folder / 'images', True, epochs=5, baseline=baseline
    )
    settings = {
        'model.crop_layer': None,
        'custom_hooks': [dict(type='PartialBackpropHook', schedule=FROZEN)],
    }
    write_config(folder / 'accel-freeze.py', folder / 'images', True, **settings)
    return config, folder / 'images'


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp('images')
    write_images(folder, number=14)
    return folder


def run(config, tmp_path, *options):
    out = tmp_path / 'budget.json'
    common = ('--device', 'cpu', '--seconds', '1', '--json', str(out))
    assert exit_code('budget', config, '--hours', '2', *common, *options) == 0
    return json.loads(out.read_text())


def test_baseline_config_and_sibling_side_by_side(paths, images, tmp_path, capsys):
    report = run(paths[0], tmp_path, '--images', str(images), '--gpus', '2')
    assert report['images_per_epoch'] == 14
    rows = {row['name']: row for row in report['presets']}
    assert list(rows) == ['baseline', 'paper', 'freeze']
    assert [row['epochs'] for row in rows.values()] == [3, 5, 2]
    assert rows['baseline']['config'].endswith('moco.py')
    for row in rows.values():
        assert row['steps_per_epoch'] == 1  # 14 images, two processes, batches of 4
        step = row['seconds_per_step_with_loading']
        assert step >= row['seconds_per_step']['median'] > 0
        assert row['hours'] == pytest.approx(row['epochs'] * step / 3600, rel=1e-4)
        assert row['epochs_in_time'] == pytest.approx(7200 / step, rel=1e-4)
        assert row['loader']['rate'] > 0 and row['n'] >= 1
    table = capsys.readouterr().out
    assert 'epochs in 2 h' in table and 'communication' in table
    for row in rows.values():
        assert row['evidence'] in table


def test_a_loader_without_workers_adds_to_the_step(paths, images, tmp_path):
    config = write_config(
        tmp_path / 'alone.py', images, **{'train_dataloader.num_workers': 0}
    )
    report = run(config, tmp_path, '--batch-size', '2')
    (row,) = report['presets']
    assert (row['name'], row['batch_size'], row['steps_per_epoch']) == ('config', 2, 7)
    load, step = row['loader']['wall'], row['seconds_per_step']['median']
    assert row['seconds_per_step_with_loading'] == pytest.approx(load + step, rel=1e-3)


def test_a_slow_loader_is_told_and_counted(
    paths, images, tmp_path, monkeypatch, capsys
):
    def deliver(self):
        views = 2 * self.batches * self.batch_size
        return Delivery(views, 3.0 * self.batches, 0.01, 0.0, steady=3.0)

    monkeypatch.setattr(LoadingRunner, 'deliver', deliver)
    report = run(paths[0], tmp_path, '--images', str(images))
    for row in report['presets']:
        assert row['limit'] == 'loader' and row['seconds_per_step_with_loading'] == 3
        assert row['loader']['rate'] == pytest.approx(8 / 3, abs=0.1)
        needed = 8 / row['seconds_per_step']['median']
        assert row['views_per_second_needed'] == pytest.approx(needed, abs=0.1)
    assert 'the limit of baseline, paper, freeze' in capsys.readouterr().out


def test_imagenet_needs_not_be_there(paths, tmp_path, capsys):
    config = write_config(
        tmp_path / 'imagenet.py',
        'nowhere',
        **{'train_dataloader.dataset.type': 'mmcls.ImageNet'},
    )
    report = run(config, tmp_path)
    assert report['images_per_epoch'] == 1_281_167
    (row,) = report['presets']
    assert row['loader'] is None and row['steps_per_epoch'] == 1_281_167 // 4
    said = capsys.readouterr().out
    assert 'ImageNet, which is not here' in said and 'was not measured' in said


def test_other_data_must_be_there(paths, capsys):
    assert exit_code('budget', paths[0], '--hours', '1', '--device', 'cpu') == 1
    assert '--images' in capsys.readouterr().err


@pytest.mark.parametrize('hours', ['0', '-1', 'inf', 'nan'])
def test_hours_are_positive(paths, hours):
    assert exit_code('budget', paths[0], f'--hours={hours}') == 2


@pytest.mark.parametrize('given', ['accel.py', 'accel-freeze.py'])
def test_siblings_are_found_from_each_of_them(paths, given):
    path = paths[0].replace('accel.py', given)
    cfg = load_config(path)
    presets = budget.find_presets(path, cfg, load_config)
    assert [p.name for p in presets if p.name != 'baseline'] == ['paper', 'freeze']
    assert cfg in [p.cfg for p in presets]
