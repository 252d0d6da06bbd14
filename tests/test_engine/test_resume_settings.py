"""What a resumed run takes from its checkpoint, and what from its config."""

import json
import signal

import pytest
import torch

from tests.folder_run import write_config
from tests.processes import run_tool
from tests.test_engine.test_resume import Runs

BY_ITERATION = dict(type='CheckpointHook', by_epoch=False, interval=4)
RATE = 'optim_wrapper.optimizer.lr'


def lines(runs, name):
    path = runs.tmp_path / name / 'out' / 'vis_data' / 'scalars.json'
    found = [json.loads(line) for line in path.read_text().splitlines()]
    return {line['step']: line for line in found if 'loss' in line}


def log(runs, name):
    return (runs.tmp_path / name / 'log.txt').read_text()


@pytest.mark.parametrize('template', ['iter-{:06d}.pth', 'moco{}_run.pth'])
def test_any_name_of_checkpoints(tmp_path, template):
    hook = dict(BY_ITERATION, filename_tmpl=template)
    runs = Runs(tmp_path, **{'default_hooks.checkpoint': hook})
    assert runs.start('unbroken', '--seed', '5') == 0
    assert runs.start('killed', '--seed', '5', kill_at=9) == -signal.SIGKILL
    assert runs.start('killed', '--resume') == 0
    assert 'resumed epoch: 1, iter: 8' in log(runs, 'killed')
    runs.assert_same('unbroken', 'killed', template.format(12))


def test_the_file_that_the_pointer_names(tmp_path):
    runs = Runs(tmp_path)
    assert runs.start('run', kill_at=9) == -signal.SIGKILL
    out = tmp_path / 'run' / 'out'
    (out / 'epoch_1.pth').rename(out / 'after the first.pth')
    (out / 'last_checkpoint').write_text(str(out / 'after the first.pth'))
    assert runs.start('run', '--resume') == 0
    assert 'resumed epoch: 1' in log(runs, 'run')


@pytest.mark.parametrize('pointer', [b'\xff\xfe\x00', b'\0' * 64, b'\x80abc'])
def test_a_pointer_that_is_no_text(tmp_path, pointer):
    runs = Runs(tmp_path)
    assert runs.start('run', kill_at=9) == -signal.SIGKILL
    (tmp_path / 'run' / 'out' / 'last_checkpoint').write_bytes(pointer)
    assert runs.start('run', '--resume') == 0
    assert 'resumed epoch: 1' in log(runs, 'run')


def test_a_foreign_file_of_a_higher_number(tmp_path):
    runs = Runs(tmp_path)
    assert runs.start('run', kill_at=9) == -signal.SIGKILL
    foreign = tmp_path / 'run' / 'out' / 'epoch_7.pth'
    torch.save(dict(state_dict=dict(a=torch.ones(2))), foreign)
    assert runs.start('run', '--resume') == 0
    assert 'resumed epoch: 1' in log(runs, 'run')
    assert f'{foreign} is skipped' in log(runs, 'run')


def test_nothing_that_can_be_resumed_stops(tmp_path):
    runs = Runs(tmp_path)
    out = tmp_path / 'run' / 'out'
    out.mkdir(parents=True)
    torch.save(dict(state_dict=dict(a=torch.ones(2))), out / 'epoch_7.pth')
    assert runs.start('run', '--resume') == 1
    assert f'none of the checkpoints in {out}' in log(runs, 'run')
    assert runs.files('run') == {'epoch_7.pth'}


def test_a_first_start_with_resume_begins_from_load_from(tmp_path):
    runs = Runs(tmp_path)
    assert runs.start('before', '--seed', '1') == 0
    begin = str(tmp_path / 'before' / 'out' / 'epoch_2.pth')
    options = {RATE: 1e-30, 'load_from': begin, 'optim_wrapper.optimizer.momentum': 0}
    assert runs.start('after', '--resume', '--seed', '2', **options) == 0
    old, new = (
        runs.checkpoint(name, 'epoch_2.pth')['state_dict']['backbone.conv1.weight']
        for name in ('before', 'after')
    )
    assert torch.equal(old, new)


@pytest.mark.parametrize(
    ('changes', 'named'),
    [
        ({RATE: 0.01}, 'lr'),
        ({'param_scheduler.0.T_max': 5}, 'T_max'),
        ({'param_scheduler.0.type': 'StepLR', 'param_scheduler.0.T_max': None}, ''),
    ],
)
def test_the_configs_schedule_holds_from_the_resumed_iteration(
    tmp_path, changes, named
):
    """As in a run that had the changed schedule from its start."""
    if not named:
        changes = {'param_scheduler': [dict(type='StepLR', step_size=1, gamma=0.5)]}
    by_one = {'default_hooks.logger.interval': 1}
    runs = Runs(tmp_path, **by_one)
    assert runs.start('reference', '--seed', '5', **changes) == 0
    assert runs.start('killed', '--seed', '5', kill_at=9) == -signal.SIGKILL
    before = lines(runs, 'killed')
    assert runs.start('killed', '--resume', **changes) == 0
    assert f'The config changes {named}' in log(runs, 'killed')
    reference, after = lines(runs, 'reference'), lines(runs, 'killed')
    for step in range(7, 13):
        assert after[step]['lr'] == pytest.approx(reference[step]['lr'], rel=1e-6)
    assert after[6] == before[6]


def test_another_momentum_holds(tmp_path):
    runs = Runs(tmp_path)
    assert runs.start('killed', '--seed', '5', kill_at=9) == -signal.SIGKILL
    changes = {'optim_wrapper.optimizer.momentum': 0.5}
    assert runs.start('killed', '--resume', **changes) == 0
    (group,) = runs.checkpoint('killed', 'epoch_2.pth')['optimizer']['param_groups']
    assert group['momentum'] == 0.5
    assert 'The config changes momentum' in log(runs, 'killed')


def test_a_finished_run_goes_on_for_longer(tmp_path):
    runs = Runs(tmp_path)
    longer = {'train_cfg.max_epochs': 3, 'param_scheduler.0.T_max': 3}
    by_one = {'default_hooks.logger.interval': 1}
    assert runs.start('reference', '--seed', '5', **longer, **by_one) == 0
    assert runs.start('run', '--seed', '5', **by_one) == 0
    assert runs.start('run', '--resume', **longer, **by_one) == 0
    reference, after = lines(runs, 'reference'), lines(runs, 'run')
    for step in range(13, 19):
        assert after[step]['lr'] == pytest.approx(reference[step]['lr'], rel=1e-6)


def test_a_schedule_that_looks_back_stops(tmp_path):
    plateau = dict(type='ReduceOnPlateauLR', monitor='acc', rule='greater')
    runs = Runs(tmp_path)
    assert runs.start('run', kill_at=9) == -signal.SIGKILL
    assert runs.start('run', '--resume', param_scheduler=[plateau]) == 1
    assert 'ReduceOnPlateau' in log(runs, 'run').splitlines()[-1]


def test_the_same_schedule_is_not_named(tmp_path):
    runs = Runs(tmp_path)
    assert runs.start('run', kill_at=9) == -signal.SIGKILL
    assert runs.start('run', '--resume') == 0
    assert 'The config changes' not in log(runs, 'run')


@pytest.mark.parametrize('workers', [0, 1, 4])
def test_iterations_without_a_seed(tmp_path, workers):
    """Workers of this loop start while it is built."""
    options = {
        'train_cfg': dict(
            _delete_=True, type='IterBasedTrainLoop', max_iters=12, val_interval=12
        ),
        'train_dataloader.sampler': dict(type='InfiniteSampler', shuffle=True),
        'train_dataloader.num_workers': workers,
        'train_dataloader.persistent_workers': workers > 0,
        'default_hooks.checkpoint': BY_ITERATION,
        'param_scheduler': [dict(type='CosineAnnealingLR', T_max=12, by_epoch=False)],
    }
    runs = Runs(tmp_path, **options)
    assert runs.start('killed', kill_at=9) == -signal.SIGKILL
    seed = runs.checkpoint('killed', 'iter_8.pth')['meta']['seed']
    assert runs.start('killed', '--resume') == 0
    assert runs.start('unbroken', '--seed', str(seed)) == 0
    runs.assert_same('unbroken', 'killed', 'iter_12.pth')


def test_two_processes_without_a_seed(tmp_path):
    Runs(tmp_path)
    hook = {'default_hooks.checkpoint': dict(BY_ITERATION, interval=2)}
    config = write_config(tmp_path / 'run.py', tmp_path / 'images', True, **hook)
    out, log = tmp_path / 'out', tmp_path / 'log.txt'
    argv = [config, '--work-dir', str(out)]
    assert run_tool('train', *argv, log=log, ranks=2) == 0, log.read_text()
    unbroken = torch.load(out / 'iter_6.pth', weights_only=True)['state_dict']
    (out / 'iter_6.pth').unlink()
    assert run_tool('train', *argv, '--resume', log=log, ranks=2) == 0
    resumed = torch.load(out / 'iter_6.pth', weights_only=True)['state_dict']
    assert all(torch.equal(resumed[key], value) for key, value in unbroken.items())


def test_the_first_line_has_what_was_computed(tmp_path):
    """As in an unbroken run, losses of exits that were not drawn are left out."""
    by_one = {'default_hooks.logger.interval': 1}
    runs = Runs(tmp_path, accel=True, **by_one)
    assert runs.start('unbroken', '--seed', '5') == 0
    assert runs.start('killed', '--seed', '5', kill_at=9) == -signal.SIGKILL
    assert runs.start('killed', '--resume') == 0
    expected, found = lines(runs, 'unbroken'), lines(runs, 'killed')
    for step in range(7, 13):
        names = {name for name in expected[step] if 'exit' in name}
        assert {name for name in found[step] if 'exit' in name} == names


def test_a_run_that_begins_again_leaves_the_dead_ones_lines(tmp_path):
    by_one = {'default_hooks.logger.interval': 1}
    runs = Runs(tmp_path, **by_one)
    assert runs.start('run', '--seed', '5', kill_at=3) == -signal.SIGKILL
    assert runs.start('run', '--seed', '5', '--resume') == 0
    path = runs.tmp_path / 'run' / 'out' / 'vis_data' / 'scalars.json'
    steps = [json.loads(line)['step'] for line in path.read_text().splitlines()]
    assert steps == sorted(set(steps))
