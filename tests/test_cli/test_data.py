"""``mmaccel data``."""

import json

import cv2
import pytest
import torch
from mmengine.config import Config

from mmaccel.analysis.loading import LoadingRunner
from mmaccel.cli import main
from tests.folder_run import write_config, write_images


@pytest.fixture
def config(tmp_path):
    write_images(tmp_path / 'images', number=8)
    threads = torch.get_num_threads(), cv2.getNumThreads()
    yield write_config(tmp_path / 'run.py', tmp_path / 'nowhere')
    torch.set_num_threads(threads[0])
    cv2.setNumThreads(threads[1])


def spread(figure):
    assert 0 <= figure['min'] <= figure['median'] <= figure['max']
    return figure['median']


def run(config, tmp_path, *argv):
    out = tmp_path / 'out' / 'data.json'
    common = ('--images', str(tmp_path / 'images'), '--device', 'cpu', '--batches', '3')
    assert main(['data', config, *common, '--json', str(out), *argv]) == 0
    return json.loads(out.read_text())


def test_both_pipelines_in_turn(config, tmp_path, capsys):
    result = run(config, tmp_path, '--compare', '--rounds', '2', '--step-ms', '30')
    assert result['torch'] == torch.__version__ and result['device']
    assert result['config'] == config
    assert (result['batch_size'], result['n'], result['images']) == (4, 2, 8)
    assert result['fast_views'] is True
    for figures in (result, result['baseline']):
        core = spread(figures['views_per_second_per_core'])
        assert core > 0 and spread(figures['views_per_second']) > 0
        assert spread(figures['all_in_views_per_second_per_core']) < core
        assert spread(figures['augment_ms_per_view']) > 0
        assert 0 < spread(figures['wait_share']) < 1
    assert spread(result['ratio']) > 0 and spread(result['ratio_all_in']) > 0
    printed = capsys.readouterr().out
    for word in ('fast_views', 'baseline', 'views/s per core', 'wait share', 'ratio'):
        assert word in printed


def test_the_configs_own_step_and_workers(config, tmp_path):
    result = run(config, tmp_path, '--rounds', '1', '--workers', '1')
    assert result['fast_views'] is False and result['workers'] == 1
    assert 'ratio' not in result
    assert 0 <= spread(result['wait_share']) < 1
    assert result['views_per_second_per_core']['median'] < 1e5  # workers are counted


def test_baseline_is_upstreams_whatever_the_config_says(config, tmp_path):
    options = ('--rounds', '1', '--step-ms', '0', '--cfg-options', 'fast_views=True')
    assert run(config, tmp_path, *options)['fast_views'] is True
    result = run(config, tmp_path, '--baseline', *options)
    assert result['fast_views'] is False and result['wait_share'] is None


def test_a_missing_folder_is_told(config, tmp_path, capsys):
    argv = [config, '--images', str(tmp_path / 'none'), '--device', 'cpu']
    assert main(['data', *argv]) == 1
    assert 'does not exist' in capsys.readouterr().err


def test_waiting_is_the_share_of_a_slow_pipeline(config, tmp_path):
    runner = LoadingRunner(
        Config.fromfile(config), images=str(tmp_path / 'images'), batches=4
    )
    slow = []

    class Slow:
        def __getitem__(self, index):
            slow.append(index)
            now[0] += 1.0
            return runner_dataset[index]

        def __len__(self):
            return len(runner_dataset)

        def stamp(self, *args):
            return runner_dataset.stamp(*args)

    runner_dataset, now = runner.dataset, [0.0]
    runner.dataset = Slow()

    def step():
        now[0] += 12.0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('time.perf_counter', lambda: now[0])
        share = runner.wait_share(step)
    assert len(slow) == 16  # a batch of 4 a step; the first is not waited for
    assert share == pytest.approx(4 / (4 + 12))
