"""Signals, and what else ends a run from outside."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
import torch

from mmaccel.cli.causes import cause_of
from mmaccel.engine.hooks import InterruptHook
from mmaccel.errors import ConfigError
from mmaccel.fileio import lock_folder
from tests.folder_run import write_config, write_images
from tests.processes import launch_training, run_tool
from tests.test_engine.test_resume import assert_same

NO_WORKERS = {
    'train_dataloader.num_workers': 0,
    'train_dataloader.persistent_workers': False,
}


def runs_with(tmp_path, signals=None, name='run', argv=(), **options):
    """Exit code and log of a small run whose process gets signals in a step."""
    if not (tmp_path / 'images').exists():
        write_images(tmp_path / 'images')
    hooks = [dict(type='PartialBackpropHook')]
    hooks += [] if signals is None else [dict(type='SignalHook', **signals)]
    config = write_config(
        tmp_path / f'{name}.py',
        tmp_path / 'images',
        accel=True,
        custom_hooks=hooks,
        **options,
    )
    log = tmp_path / f'{name}.log'
    argv = [config, '--work-dir', str(tmp_path / name), '--seed', '5', *argv]
    ranks = 1 if signals is None or signals.get('rank') is None else 2
    return run_tool('train', *argv, log=log, ranks=ranks), log.read_text()


def weights(tmp_path, name):
    return torch.load(tmp_path / name / 'epoch_2.pth', weights_only=True)


@pytest.mark.parametrize(
    ('name', 'at'), [('SIGTERM', 2), ('SIGINT', 5), ('SIGUSR1', 8), ('SIGTERM', 11)]
)
def test_a_signal_saves_and_the_run_goes_on_as_if_nothing_was(tmp_path, name, at):
    """In an epoch, at the end of one, and in the last step."""
    options = {'optim_wrapper.accumulative_counts': 2}
    code, text = runs_with(tmp_path, dict(at=at, signals=[name]), **options)
    assert code == 128 + getattr(signal, name), text
    saved = tmp_path / 'run' / f'interrupted_{at + 1}.pth'
    assert saved.exists()
    last = text.strip().splitlines()[-1]
    assert name in last and str(saved) in last and '--resume' in last
    assert runs_with(tmp_path, argv=['--resume'], **options)[0] == 0
    assert not saved.exists()  # an epoch's checkpoint is newer
    assert runs_with(tmp_path, name='unbroken', **options)[0] == 0
    for key in ('state_dict', 'optimizer', 'param_schedulers'):
        ends = [weights(tmp_path, name)[key] for name in ('run', 'unbroken')]
        assert_same(*ends, key)


def test_a_second_signal_ends_at_once(tmp_path):
    signals = dict(at=2, signals=['SIGTERM', 'SIGTERM'])
    code, _ = runs_with(tmp_path, signals)
    assert code == -signal.SIGTERM
    assert not list((tmp_path / 'run').glob('*.pth'))


def test_a_signal_to_one_of_two_ranks_stops_both(tmp_path):
    code, text = runs_with(tmp_path, dict(at=1, signals=['SIGTERM'], rank=1))
    assert code == 128 + signal.SIGTERM
    assert text.count('SIGTERM was received') == 2
    assert [p.name for p in (tmp_path / 'run').glob('*.pth')] == ['interrupted_3.pth']


def test_without_checkpoints_it_ends_all_the_same(tmp_path):
    options = {'default_hooks.checkpoint': None}
    code, text = runs_with(tmp_path, dict(at=1, signals=['SIGTERM']), **options)
    assert code == 128 + signal.SIGTERM
    assert 'without a checkpoint' in text.strip().splitlines()[-1]


@pytest.mark.parametrize('ranks', [1, 2])
def test_a_scheduler_ends_the_whole_job(tmp_path, ranks):
    """TERM to every process: launcher, ranks and loader workers."""
    write_images(tmp_path / 'images')
    slow = [dict(type='SleepHook', seconds=0.3)]
    options = {'custom_imports.imports': ['mmaccel', 'tests.hooks']}
    options['default_hooks.logger.interval'] = 1
    hooks = [dict(type='PartialBackpropHook')]
    images, log = tmp_path / 'images', tmp_path / 'log.txt'
    out = tmp_path / 'out'
    slowly = {**options, 'custom_hooks': hooks + slow}
    config = write_config(tmp_path / 'slow.py', images, True, epochs=4, **slowly)
    job = launch_training(config, out, log, ranks)
    end = time.monotonic() + 100
    while 'Epoch(train) [1][2/' not in log.read_text():
        assert job.poll() is None and time.monotonic() < end, log.read_text()
        time.sleep(0.1)
    os.killpg(job.pid, signal.SIGTERM)
    code = job.wait(60)
    assert code == 128 + signal.SIGTERM if ranks == 1 else code != 0
    (saved,) = out.glob('interrupted_*.pth')
    assert 'SIGTERM was received' in log.read_text()

    options['custom_hooks'] = hooks
    config = write_config(tmp_path / 'fast.py', images, True, epochs=4, **options)
    argv = ['--seed', '5', '--work-dir']
    argv = ['train', config, *argv]
    assert run_tool(*argv, str(out), '--resume', log=log, ranks=ranks) == 0
    assert f'Load checkpoint from {saved}' in log.read_text()
    whole = str(tmp_path / 'whole')
    assert run_tool(*argv, whole, log=log, ranks=ranks) == 0
    ends = [torch.load(Path(d, 'epoch_4.pth'), weights_only=True) for d in (out, whole)]
    assert_same(ends[0]['state_dict'], ends[1]['state_dict'], 'state_dict')


def test_a_killed_loader_worker(tmp_path):
    options = {'train_dataloader.num_workers': 1}
    signals = dict(at=2, signals=['SIGKILL'], worker=True)
    code, text = runs_with(tmp_path, signals, **options)
    last = text.strip().splitlines()[-1]
    assert code == 1 and last.startswith('error: a loader worker was killed')
    assert 'num_workers' in last and '--resume' in last


def test_a_dead_peer(tmp_path):
    code, text = runs_with(tmp_path, dict(at=1, signals=['SIGKILL'], rank=1))
    assert code != 0
    assert 'error: another process of the run has ended' in text


@pytest.mark.parametrize(
    ('text', 'named'),
    [
        ('DataLoader worker (pid 7) is killed by signal: Bus error. It is ...', 'shm'),
        ('unable to open shared memory object </torch_1> in read-write mode', 'shm'),
        ('unable to write to file </torch_1_2>: No space left on device shm', 'shm'),
        ('DataLoader worker (pid 7) is killed by signal: Killed.', 'num_workers'),
        ('DataLoader worker (pid(s) 7) exited unexpectedly', 'num_workers'),
        ('CUDA out of memory. Tried to allocate 2 GiB', 'batch_size'),
        ('[Errno 28] No space left on device', 'disk'),
        ('Connection closed by peer [127.0.0.1]:1234', 'another process'),
        ('NCCL error: ncclRemoteError: A call failed', 'another process'),
        ('Watchdog caught collective operation timeout', 'another process'),
    ],
)
def test_causes_have_their_remedy(text, named):
    try:
        try:
            raise OSError(text)
        except OSError as error:
            raise RuntimeError('a step failed') from error
    except RuntimeError as error:
        assert named in cause_of(error)


def test_other_errors_have_no_cause():
    assert cause_of(RuntimeError('shapes do not match')) is None


def _hold(folder, ready, done):
    lock = lock_folder(folder)
    ready.set()
    done.wait(60)
    lock.close()


def test_two_trainings_in_one_folder(tmp_path):
    context = multiprocessing.get_context('fork')
    ready, done = context.Event(), context.Event()
    (tmp_path / 'run').mkdir()
    args = (tmp_path / 'run', ready, done)
    first = context.Process(target=_hold, args=args)
    first.start()
    assert ready.wait(60)
    with pytest.raises(ConfigError, match=f'process {first.pid}'):
        lock_folder(tmp_path / 'run')
    code, text = runs_with(tmp_path, **NO_WORKERS)
    assert code == 1 and 'is in use by' in text and '--work-dir' in text
    done.set()
    first.join()
    assert runs_with(tmp_path, **NO_WORKERS)[0] == 0


def _wait(ready):
    ready.set()
    time.sleep(60)


def test_signals_are_heard_while_training_alone_and_by_its_process():
    """Forked processes, such as a pool's, end by their first signal."""
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    context = multiprocessing.get_context('fork')
    ready = context.Event()
    with pytest.raises(KeyError), InterruptHook().listen():
        child = context.Process(target=_wait, args=(ready,))
        child.start()
        assert ready.wait(60)
        child.terminate()
        child.join(20)
        raise KeyError('a training that fails')
    assert child.exitcode == -signal.SIGTERM
    after = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    assert after == before
