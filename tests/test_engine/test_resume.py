"""Killed runs that end as unbroken ones: bit by bit, with all that led there."""

import copy
import json
import signal

import pytest
import torch

import tests.hooks  # noqa: F401
from tests.folder_run import write_config, write_images
from tests.processes import run_tool


def trace(path):
    """Lines by iteration; a later line replaces an earlier one."""
    lines = map(json.loads, path.read_text().splitlines())
    return {line['iter']: line for line in lines}


class Runs:
    """Runs of one config over one folder of images."""

    def __init__(self, tmp_path, accel=False, schedule=None, **options):
        self.tmp_path = tmp_path
        self.accel = accel
        self.schedule = schedule or {}
        self.options = options
        write_images(tmp_path / 'images')

    def start(self, name, *argv, kill_at=None, kill_in_save=None, **options):
        """Exit code of a run with its own work directory; its trace is appended."""
        folder = self.tmp_path / name
        folder.mkdir(exist_ok=True)
        hooks = []
        if self.accel:
            hooks = [dict(type='PartialBackpropHook', **self.schedule)]
        hooks.append(
            dict(
                type='TraceHook',
                path=str(folder / 'trace.json'),
                kill_at=kill_at,
                kill_in_save=kill_in_save,
            )
        )
        config = write_config(
            folder / 'run.py',
            self.tmp_path / 'images',
            accel=self.accel,
            custom_hooks=hooks,
            **copy.deepcopy({**self.options, **options}),
        )
        argv = ['--work-dir', str(folder / 'out'), *argv]
        return run_tool('train', config, *argv, log=folder / 'log.txt')

    def files(self, name):
        return {path.name for path in (self.tmp_path / name / 'out').glob('*.pth')}

    def trace(self, name):
        return trace(self.tmp_path / name / 'trace.json')

    def checkpoint(self, name, file):
        return torch.load(self.tmp_path / name / 'out' / file, weights_only=True)

    def assert_same(self, name, other, file):
        """Both ended with the same state and saw the same on their way."""
        ends = [self.checkpoint(run, file) for run in (name, other)]
        for key in ('state_dict', 'optimizer', 'param_schedulers'):
            assert_same(ends[0][key], ends[1][key], key)
        assert ends[0]['meta']['seed'] == ends[1]['meta']['seed']
        assert self.trace(name) == self.trace(other)


def assert_same(a, b, where):
    """Equal bit by bit, through dicts and lists."""
    assert type(a) is type(b), where
    if isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            assert_same(a[key], b[key], f'{where}.{key}')
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), where
        for i, pair in enumerate(zip(a, b)):
            assert_same(*pair, f'{where}.{i}')
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    else:
        assert a == b, where


def test_upstream_moco_from_its_last_epoch(tmp_path):
    runs = Runs(tmp_path)
    assert runs.start('unbroken', '--seed', '5') == 0
    assert runs.start('killed', '--seed', '5', kill_at=9) == -signal.SIGKILL
    assert len(runs.trace('killed')) == 9 and runs.files('killed') == {'epoch_1.pth'}
    # on another machine, with other workers
    workers = {'train_dataloader.num_workers': 1}
    assert runs.start('killed', '--resume', **workers) == 0
    runs.assert_same('unbroken', 'killed', 'epoch_2.pth')

    lines = runs.trace('unbroken')
    assert [line['batch_idx'] for line in lines.values()] == 2 * list(range(6))
    epochs = [
        [name for i in range(6) for name in lines[6 * epoch + i]['names']]
        for epoch in (0, 1)
    ]
    assert sorted(epochs[0]) == sorted(epochs[1]) and len(set(epochs[0])) == 24
    assert epochs[0] != epochs[1] and lines[0]['pixels'] != lines[6]['pixels']


def test_accel_moco_from_the_middle_of_an_epoch_and_of_an_update(tmp_path):
    freezing = [
        dict(until=0.6),
        dict(exit_probs=(0, 1, 1, 1), entry_probs=(0, 1), fold_frozen=True),
    ]
    runs = Runs(
        tmp_path,
        accel=True,
        schedule=dict(schedule=freezing, anneal='scaled'),
        **{
            'default_hooks.checkpoint': dict(
                type='CheckpointHook', by_epoch=False, interval=4, max_keep_ckpts=2
            ),
            'optim_wrapper.accumulative_counts': 3,
        },
    )
    assert runs.start('unbroken', '--seed', '5') == 0
    assert runs.start('killed', '--seed', '5', kill_at=9) == -signal.SIGKILL
    assert runs.checkpoint('killed', 'iter_8.pth')['accumulated_gradients']
    assert runs.start('killed', '--resume') == 0
    assert 'Skipping 2 of 6' in (tmp_path / 'killed' / 'log.txt').read_text()
    runs.assert_same('unbroken', 'killed', 'iter_12.pth')
    assert runs.files('killed') == {'iter_8.pth', 'iter_12.pth'}
    exits = [line['exit'] for line in runs.trace('killed').values()]
    assert len(set(exits)) > 1 and exits[::3] == exits[1::3] == exits[2::3]


def test_killed_while_saving_and_without_a_seed(tmp_path):
    runs = Runs(tmp_path, accel=True)
    assert runs.start('killed', kill_in_save=2) == -signal.SIGKILL
    out = tmp_path / 'killed' / 'out'
    left = {path.name for path in out.glob('.*.writing')}
    assert left == {'.epoch_2.pth.writing'} and runs.files('killed') == {'epoch_1.pth'}
    seed = runs.checkpoint('killed', 'epoch_1.pth')['meta']['seed']
    assert runs.start('killed', '--resume') == 0
    assert not list(out.glob('.*.writing'))
    assert runs.start('unbroken', '--seed', str(seed)) == 0
    runs.assert_same('unbroken', 'killed', 'epoch_2.pth')


@pytest.mark.parametrize('accumulated', [1, 2])
def test_two_processes(tmp_path, accumulated):
    """Rank-wise state: accumulated gradients are each rank's own until they meet."""
    images = tmp_path / 'images'
    write_images(images)
    options = {
        'default_hooks.checkpoint': dict(
            type='CheckpointHook', by_epoch=False, interval=1
        ),
        'optim_wrapper.accumulative_counts': accumulated,
        'train_dataloader.num_workers': 0,
    }
    config = write_config(tmp_path / 'run.py', images, accel=True, **options)
    log = tmp_path / 'log.txt'
    out = tmp_path / 'out'
    argv = [config, '--work-dir', str(out), '--seed', '5']
    assert run_tool('train', *argv, log=log, ranks=2) == 0, log.read_text()
    unbroken = torch.load(out / 'iter_6.pth', weights_only=True)
    for i in (6, 5, 4):
        (out / f'iter_{i}.pth').unlink()
    assert run_tool('train', *argv, '--resume', log=log, ranks=2) == 0
    resumed = torch.load(out / 'iter_6.pth', weights_only=True)
    for key, value in unbroken['state_dict'].items():
        if accumulated == 1:
            assert torch.equal(resumed['state_dict'][key], value), key
        else:  # averaging sooner may round otherwise
            torch.testing.assert_close(resumed['state_dict'][key], value)
