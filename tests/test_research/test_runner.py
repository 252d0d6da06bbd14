"""The runner: what is started and recorded, what is skipped, and a run in earnest."""

import copy
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from statistics import mean

import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image

from research import run as tool
from research.study import grid, runner
from research.study.children import Children, Interrupted
from research.study.records import read_runs
from research.study.runner import StepFailed
from tests.processes import exit_code

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / 'tools'
GRID = dict(
    config='research/configs/{accel}{method}_r18_cifar10.py',
    variants={'baseline': {}, 'paper': {}},
)


_read = functools.lru_cache(grid.load_config)


@pytest.fixture(autouse=True)
def files_read_once(monkeypatch):
    """Reading a config with its bases takes a second."""
    monkeypatch.setattr(grid, 'load_config', lambda path: copy.deepcopy(_read(path)))


def write_images(root, size=16):
    """Two classes that noise hardly hides, 10 images of each to learn, 3 to test."""
    rng = np.random.default_rng(0)
    for split, number in (('train', 10), ('test', 3)):
        for level, kind in ((60, 'dark'), (190, 'light')):
            folder = root / split / kind
            folder.mkdir(parents=True)
            for i in range(number):
                noise = rng.integers(-50, 50, (size, size, 3))
                Image.fromarray((level + noise).astype(np.uint8)).save(
                    folder / f'{i}.png'
                )
    return root


class Place:
    """A folder with a grid, images, records, and the tool over them."""

    def __init__(self, folder, capsys, **declared):
        self.folder = folder
        self.capsys = capsys
        self.grid = folder / 'grid.py'
        self.declare(**declared)
        self.records = folder / 'records.jsonl'
        write_images(folder / 'data')

    def declare(self, **declared):
        lines = (f'{k} = {v!r}' for k, v in {**GRID, **declared}.items())
        self.grid.write_text('\n'.join(lines))

    def run(self, *argv):
        """Exit code, what is printed, and the error."""
        code = tool.main(
            [
                *(str(self.grid), '--data-root', str(self.folder / 'data')),
                *('--records', str(self.records)),
                *('--work-dir', str(self.folder / 'work')),
                *argv,
            ]
        )
        captured = self.capsys.readouterr()
        return code, captured.out, captured.err

    def status(self):
        return {r['name']: r['status'] for r in read_runs(self.records)}

    def lines(self):
        return len(self.records.read_text().splitlines())


class Processes:
    """Stands in for ``Children``: tools that only leave their files."""

    def __init__(self):
        self.commands = []
        self.broken = {}  # seed of a training to the exit code that it ends with
        self.last_words = {}  # seed of a training to what it writes at its end
        self.silent = ()  # seeds of trainings that leave no log

    def call(self, command, stdout, env):
        python, tool, *argv = command
        assert python == sys.executable and Path(tool).is_file()
        assert env['OMP_NUM_THREADS'] == '1' or torch.cuda.is_available()
        assert all(isinstance(arg, str) for arg in argv)
        self.commands.append((Path(tool).stem, argv))
        if '--work-dir' in argv:
            work_dir = Path(argv[argv.index('--work-dir') + 1])
        if Path(tool).stem == 'train':
            seed = argv[argv.index('--seed') + 1]
            end = self.last_words.get(seed, f'the end of seed {seed}\n')
            stdout.write('much before\n' * 100 + end)
            if -self.broken.get(seed, 0) in (signal.SIGINT, signal.SIGTERM):
                raise Interrupted
            if seed in self.broken:
                return self.broken[seed]
            if seed not in self.silent:
                self.train(work_dir)
        elif Path(tool).stem == 'measure_spread':
            place = Path(argv[argv.index('--json') + 1])
            place.write_text('{"4": {"neg_sim": 0.5}}')
        else:
            for name in argv[argv.index('--metrics') + 1 : argv.index('--metrics') + 3]:
                (work_dir / name).mkdir(parents=True, exist_ok=True)
                (work_dir / name / 'result.json').write_text('{"metrics": {"top1": 5}}')
            (work_dir / 'features').mkdir()
        return 0

    @staticmethod
    def train(work_dir):
        lines = [
            dict(knn_top1=10.004, train_seconds=0.0, epoch=0, step=0),
            dict(loss=1.0, time=0.5, data_time=0.25, epoch=1, step=5),
            dict(knn_top1=30.0, train_seconds=5.0, epoch=5, step=25),
            dict(knn_top1=66.0, train_seconds=9.0, epoch=10, step=50),  # lost again
            dict(loss=1.0, time=0.1, data_time=0.02, epoch=6, step=30),
            dict(knn_top1=40.0, train_seconds=11.0, epoch=10, step=50),
            dict(loss=1.0, time=0.2, data_time=0.01, epoch=11, step=55),
            dict(knn_top1=45.678, train_seconds=13.456, epoch=12, step=60),
        ]
        folder = work_dir / 'vis_data'
        folder.mkdir(exist_ok=True)
        with open(folder / 'scalars.json', 'a') as file:  # as mmengine does
            file.writelines(f'{json.dumps(line)}\n' for line in lines)


@pytest.fixture
def processes(monkeypatch):
    fake = Processes()
    monkeypatch.setattr(runner, 'Children', lambda: fake)
    return fake


@pytest.fixture
def place(tmp_path, capsys):
    """Three seeds of one config."""
    common = dict(width=8, evaluate_on=['held_out', 'test'])
    runs = [
        dict(methods=['mocov2'], variants=['baseline'], epochs=[12], seeds=[0, 1, 2])
    ]
    return Place(tmp_path, capsys, common=common, runs=runs)


#: The group that ``place`` declares.
GROUP = 'mocov2/baseline-12e'


def test_what_ends_well_is_recorded_once_and_skipped(place, processes):
    code, out, _ = place.run('--only', '*/0')
    assert code == 0 and '1 runs, 1 to do' in out
    (record,) = read_runs(place.records)
    assert record['name'] == f'{GROUP}/0' and record['status'] == 'ok'
    assert record['run']['epochs'] == 12 and record['run']['seed'] == 0
    # an epoch that a resumed run measured again has its later value
    assert record['curve'] == [
        dict(epoch=0, knn=10.0, seconds=0.0),
        dict(epoch=5, knn=30.0, seconds=5.0),
        dict(epoch=10, knn=40.0, seconds=11.0),
        dict(epoch=12, knn=45.68, seconds=13.46),
    ]
    assert (record['step_ms'], record['data_ms']) == (266.67, 93.33)
    assert 0 <= record['train_py_seconds'] <= record['seconds_elapsed'] + 0.1
    evaluated = dict(knn=dict(top1=5), linear=dict(top1=5))
    assert record['held_out'] == record['test'] == evaluated

    (_, train), (_, held_out), (_, test) = processes.commands
    folder = place.folder / 'work' / GROUP / f'0-{record["key"]}'
    where = ['--work-dir', str(folder)]
    assert train == [str(folder / 'run.json'), *where, '--seed', '0', '--resume']
    assert held_out[:2] == [str(folder / 'run.json'), str(folder / 'epoch_12.pth')]
    assert '--data-root' not in held_out
    assert test[-2:] == ['--data-root', str(place.folder / 'data')]
    assert not list(folder.glob('*/features'))

    assert place.run('--only', '*/0')[:2] == (0, '1 runs, 0 to do\n')
    assert len(processes.commands) == 3 and place.lines() == 1


def test_evaluating_later_keeps_what_was_measured(place, processes, monkeypatch):
    """The training's machine, splits evaluated before; a failure does not undo it."""

    def declare(**evaluation):
        common = dict(width=8, **evaluation)
        place.declare(
            common=common,
            runs=[dict(methods=['mocov2'], variants=['baseline'], epochs=[12])],
        )

    def tools():
        return [(tool, Path(argv[-1]).name) for tool, argv in processes.commands]

    declare(evaluate_on=['held_out'])
    monkeypatch.setattr(runner, 'processor_name', lambda: 'the first machine')
    monkeypatch.setattr(runner, 'processor_abilities', lambda: ['avx2'])
    assert place.run('--jobs', '3')[0] == 0
    (before,) = read_runs(place.records)
    monkeypatch.setattr(runner, 'processor_name', lambda: 'another machine')
    monkeypatch.setattr(runner, 'processor_abilities', lambda: ['avx2', 'avx512f'])
    assert before['device'] == 'the first machine' and before['jobs'] == 3
    assert before['abilities'] == ['avx2']

    declare(evaluate_on=['held_out', 'test'])
    assert 'trained' in place.run('--list')[1]
    assert place.run()[0] == 1 and place.lines() == 2
    failed = json.loads(place.records.read_text().splitlines()[1])
    assert (
        failed['status'] == 'failed' and 'its checkpoint is not in' in failed['error']
    )
    assert read_runs(place.records) == [before]

    folder = place.folder / 'work' / GROUP / f'0-{before["key"]}'
    torch.save({}, folder / 'epoch_12.pth')
    processes.commands.clear()
    assert place.run()[0] == 0
    assert tools() == [('probe', 'data')]  # the test split alone
    (after,) = read_runs(place.records)
    evaluated = dict(knn=dict(top1=5), linear=dict(top1=5))
    assert after.pop('test') == evaluated
    assert after['run'].pop('evaluate_on') == ['held_out', 'test']
    assert after.pop('seconds_elapsed') >= before.pop('seconds_elapsed')
    before['run'].pop('evaluate_on')
    assert after == before

    declare(evaluate_on=['test'], stages=True)
    processes.commands.clear()
    assert place.run()[0] == 0
    assert len(processes.commands) == 1
    (after,) = read_runs(place.records)
    assert after['held_out'] == evaluated
    assert after['test'] == dict(evaluated, stages=dict(top1=5))
    declare(evaluate_on=['held_out', 'test'], spread=True)
    assert 'trained' in place.run('--list')[1]
    processes.commands.clear()
    assert place.run()[0] == 0
    assert [name for name, _ in processes.commands] == ['measure_spread']
    (after,) = read_runs(place.records)
    assert (
        after['spread'] == {'4': dict(neg_sim=0.5)} and after['held_out'] == evaluated
    )
    declare(evaluate_on=['held_out', 'test'])  # all stages include the last
    assert place.run('--list')[1].startswith('ok')


def test_a_run_is_not_trained_twice_at_once(place, processes):
    place.run('--only', '*/0')
    (record,) = read_runs(place.records)
    place.records.unlink()
    processes.commands.clear()
    folder = place.folder / 'work' / GROUP / f'0-{record["key"]}'
    with FileLock(folder / 'lock'):
        code, out, err = place.run('--only', '*/0')
        assert code == 1 and f'busy    {GROUP}/0: another process' in out
        assert f'1 of 1 runs did not end: {GROUP}/0' in err
        assert not processes.commands and not place.records.exists()
    assert place.run('--only', '*/0')[0] == 0


def test_seconds_of_all_lives_count_as_elapsed(place, processes, monkeypatch):
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(runner.time, 'perf_counter', lambda: next(clock))
    processes.broken = {'0': -signal.SIGTERM}
    assert place.run('--only', '*/0')[0] == 1  # the clock is read 3 times: 20 s
    processes.broken = {}
    assert place.run('--only', '*/0')[0] == 0  # 4 times: 30 s
    (record,) = read_runs(place.records)
    assert record['seconds_elapsed'] == 50
    assert record['train_py_seconds'] == 10


def test_the_log_of_a_life_that_was_lost_whole_does_not_count(place, processes):
    folder = place.folder / 'work' / GROUP
    assert place.run('--only', '*/0')[0] == 0
    (first,) = read_runs(place.records)
    (work,) = folder.glob('0-*')
    place.records.unlink()
    for path in work.glob('epoch_*.pth'):
        path.unlink()
    log = work / 'vis_data/scalars.json'
    line = dict(loss=1.0, time=100.0, data_time=0.0, epoch=1, step=5)
    log.write_text(json.dumps(line) + '\n' + log.read_text())
    assert place.run('--only', '*/0')[0] == 0
    (again,) = read_runs(place.records)
    assert again['step_ms'] == first['step_ms']


def test_work_on_other_images_is_not_taken_for_a_runs_own(place, processes):
    assert place.run('--only', '*/0')[0] == 0
    (record,) = read_runs(place.records)
    folder = place.folder / 'work' / GROUP / f'0-{record["key"]}'
    torch.save({}, folder / 'epoch_12.pth')
    settings = json.loads((folder / 'run.json').read_text())
    loader = settings['train_dataloader']
    loader['dataset'] = dict(type='SeededDataset', dataset=loader['dataset'])
    (folder / 'run.json').write_text(json.dumps(settings))  # as a training leaves it
    place.records.unlink()
    others = place.folder / 'others'
    shutil.copytree(place.folder / 'data', others)
    done = len(processes.commands)
    code, _, err = place.run('--only', '*/0', '--data-root', str(others))
    assert code == 1 and len(processes.commands) == done
    images = place.folder / 'data' / 'train'
    assert f'has a training on the images in {images}; give another --work-dir' in err
    code, out, _ = place.run('--only', '*/0')
    assert code == 0 and f'reused  {GROUP}/0: trained before in' in out
    assert 'train' not in [name for name, _ in processes.commands[done:]]


def test_a_run_that_was_renamed_is_not_taken_for_done(place, processes):
    assert place.run('--only', '*/0')[0] == 0
    place.declare(
        common=dict(width=8, evaluate_on=['held_out', 'test']),
        variants={'baseline-b': {}},
        runs=[dict(methods=['mocov2'], variants=['baseline-b'], epochs=[12])],
    )
    code, _, err = place.run('--list')
    renamed = 'mocov2/baseline-b-12e/0'
    assert code == 1 and f'{renamed} is recorded as {GROUP}/0; rename it' in err


def test_failures_are_recorded_and_others_go_on(place, processes):
    processes.broken, processes.silent = {'0': 3}, ('1',)
    code, _, err = place.run('--jobs', '2')
    assert code == 1
    assert f'2 of 3 runs did not end: {GROUP}/0, {GROUP}/1;' in err and '--retry' in err
    failed, unread, ended = (f'{GROUP}/{seed}' for seed in range(3))
    assert place.status() == {failed: 'failed', unread: 'failed', ended: 'ok'}
    records = {r['name']: r for r in read_runs(place.records)}
    assert records[failed]['error'] == 'train.py ended with 3: the end of seed 0'
    error = records[unread]['error']  # one that nobody foresaw
    folder = f'<work-dir>/{GROUP}/1-{records[unread]["key"]}'
    assert error.startswith(f'ConfigError: {folder} has no vis_data/scalars.json')
    assert not any('curve' in records[name] for name in (failed, unread))

    out = place.run('--list')[1]
    assert out == f'failed   {failed}\nfailed   {unread}\nok       {ended}\n'
    processes.broken, processes.silent = {}, ()
    assert place.run('--only', '*/0')[:2] == (0, '1 runs, 0 to do\n')
    code, out, _ = place.run('--retry')
    assert code == 0 and '3 runs, 2 to do' in out
    assert set(place.status().values()) == {'ok'} and place.lines() == 5


TRACEBACK = """\
Traceback (most recent call last):
  File "{tools}/train.py", line 9, in main
    raise RuntimeError('x')
RuntimeError: Caught OSError in DataLoader worker process 0.
Original Traceback (most recent call last):
  File "/opt/lib/python/worker.py", line 7, in fetch
OSError: broken {data}/train/dark/1.png, see {work}/x.log, {tools}/a b or /opt/y
It may help to set a variable.

"""


@pytest.mark.parametrize(
    ('words', 'reason'),
    [
        (
            TRACEBACK,
            'OSError: broken <data-root>/train/dark/1.png, see <work-dir>/x.log, '
            '.../a b or .../y',
        ),
        (
            'warning: w\nerror: {data} has no images; see {work} (https://a.org/b/c)\n',
            'error: <data-root> has no images; see <work-dir> (https://a.org/b/c)',
        ),
        ('Epoch(train) [3][50/351]  loss: 1.5 and/or 2\n\n', None),
        ('ValueErrors: 3\n{data}2/c.png: <{tools}/d>\n', '.../c.png: <.../d>'),
        ('first\nKeyboardInterrupt\n  warned\n', 'KeyboardInterrupt'),
        ('', 'much before'),
        ('x' * 9999, 'x' * 500),
    ],
)
def test_a_failure_has_one_line_without_places(place, processes, words, reason):
    places = dict(
        data=place.folder / 'data', work=place.folder / 'work', tools=TOOLS.resolve()
    )
    processes.broken = {'0': 1}
    processes.last_words = {'0': words.format(**places)}
    assert place.run('--only', '*/0')[0] == 1
    (record,) = read_runs(place.records)
    assert record['error'] == f'train.py ended with 1: {reason or words.strip()}'
    assert str(place.folder) not in json.dumps(record)


def test_only_what_the_command_itself_wrote_is_its_reason(place, processes):
    processes.broken = {'0': 1}
    processes.last_words = {'0': 'RuntimeError: of the first try\n'}
    assert place.run('--only', '*/0')[0] == 1
    processes.last_words = {'0': 'then it was killed\n'}
    assert place.run('--only', '*/0', '--retry')[0] == 1
    (record,) = read_runs(place.records)
    assert record['error'].endswith(': then it was killed')
    log = place.folder / 'work' / GROUP / f'0-{record["key"]}' / 'output.log'
    assert 'of the first try' in log.read_text()


def test_places_are_hidden_however_they_are_given(tmp_path, monkeypatch):
    real = tmp_path / 'disk'
    (real / 'work').mkdir(parents=True)
    (tmp_path / 'link').symlink_to(real)
    monkeypatch.chdir(tmp_path)
    study = runner.Study(str(tmp_path / 'link'), 'disk/work', 'records.jsonl')
    text = f'{tmp_path}/link/a {real}/b {real}/work/c {real}/works/d'
    hidden = '<data-root>/a <data-root>/b <work-dir>/c <data-root>/works/d'
    assert study._without_places(text) == hidden


def test_an_interrupted_run_is_still_to_do(place, processes):
    for number in (signal.SIGINT, signal.SIGTERM):
        processes.broken = {'0': -number}
        code, out, _ = place.run('--only', '*/0')
        assert code == 1 and f'stopped {GROUP}/0' in out
        assert not place.records.exists()
    processes.broken = {'0': -signal.SIGKILL}  # out of memory: a failure
    assert place.run('--only', '*/0')[0] == 1
    assert place.status() == {f'{GROUP}/0': 'failed'}


def test_seconds_of_several_lives_are_not_known(place, processes):
    """Those of a run that starts anew, for want of a whole checkpoint, are."""
    processes.broken = {'0': -signal.SIGTERM, '1': -signal.SIGTERM}
    assert place.run()[0] == 1
    assert place.status() == {f'{GROUP}/2': 'ok'}
    for folder in (place.folder / 'work' / GROUP).iterdir():
        whole = folder.name[0] == '0'
        torch.save({}, folder / 'epoch_2.pth')
        if not whole:
            os.truncate(folder / 'epoch_2.pth', 100)
    processes.broken = {}
    assert place.run()[0] == 0
    seconds = {r['name']: r['train_py_seconds'] for r in read_runs(place.records)}
    assert seconds.pop(f'{GROUP}/0') is None
    assert len(seconds) == 2 and all(s >= 0 for s in seconds.values())
    assert '"train_py_seconds": null' in place.records.read_text()


#: A training with a worker that ignores what ends the training.
STUBBORN = """
import subprocess, sys, time
code = (
    'import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); '
    'print(flush=True); time.sleep(60)'
)
worker = subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE)
worker.stdout.readline()
with open(sys.argv[sys.argv.index('--work-dir') + 1] + '/pid', 'w') as file:
    print(worker.pid, file=file)
time.sleep(60)
"""


def wait_for(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_running(pid):
    """Whether it is there and not merely waiting for its parent to notice its end."""
    try:
        return (
            Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
        )
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path('/proc/self').exists(), reason='looks into /proc')
@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_what_is_running_and_records_nothing(place, monkeypatch, number):
    script = place.folder / 'train.py'
    script.write_text(STUBBORN)
    monkeypatch.setattr(runner, '_TRAIN', script)
    workers = []

    def send():
        def pids():
            return [f.read_text() for f in place.folder.glob('work/*/*/*/pid')]

        wait_for(lambda: len(pids()) == 2 and all(p.endswith('\n') for p in pids()))
        workers.extend(map(int, pids()))
        os.kill(os.getpid(), number)

    usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
    before = signal.signal(number, usual)  # ignored under nohup or in the background
    sender = threading.Thread(target=send)
    sender.start()
    if number == signal.SIGINT:
        code, out, _ = place.run('--jobs', '2')
    else:
        with pytest.raises(SystemExit) as raised:
            place.run('--jobs', '2')
        code, out = raised.value.code, place.capsys.readouterr().out
    sender.join()
    assert code == 128 + number
    assert sorted(line for line in out.splitlines() if 'stopped' in line)[:2] == [
        f'stopped {GROUP}/0',
        f'stopped {GROUP}/1',
    ]
    assert 'failed' not in out and not place.records.exists()
    assert len(workers) == 2
    wait_for(lambda: not any(map(is_running, workers)))
    after = signal.getsignal(number)
    signal.signal(number, before)
    assert after is usual


def test_children_that_do_not_end_are_killed():
    children = Children(grace=0.1)
    code = 'import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)'
    outcome = []

    def call(command):
        try:
            outcome.append(children.call(command, subprocess.DEVNULL, os.environ))
        except Interrupted:
            outcome.append('interrupted')

    call([sys.executable, '-c', 'raise SystemExit(7)'])
    thread = threading.Thread(target=call, args=([sys.executable, '-c', code],))
    thread.start()
    wait_for(lambda: children._running)
    time.sleep(0.3)  # it has begun to ignore the signal
    children.stop()
    thread.join(timeout=5)
    call([sys.executable, '-c', ''])
    assert outcome == [7, 'interrupted', 'interrupted'] and not children._running


def test_signals_that_are_ignored_or_handled_stay_so(monkeypatch):
    seen = []
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    own = signal.signal(signal.SIGTERM, lambda number, _: seen.append(number))
    try:
        with runner.unwound_by_signals():
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGTERM)
        assert seen == [signal.SIGTERM]
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
        signal.signal(signal.SIGTERM, own)


def test_what_cannot_be_meant_is_refused_before_anything_starts(place, processes):
    code, _, err = place.run('--only', 'mocov2/*', 'm/b/*')
    assert (code, err) == (
        1,
        'error: no run is called m/b/*; --list shows their names\n',
    )
    (place.folder / 'data/test').rename(place.folder / 'data/val')
    code, _, err = place.run()
    assert code == 1
    assert 'data has no images in test/<class>/; name the folder' in err
    runs = [dict(methods=['mocov2'], variants=['baseline', 'baseline-b'], epochs=[1])]
    place.declare(variants={'baseline': {}, 'baseline-b': {}}, runs=runs)
    code, _, err = place.run()
    assert code == 1
    both = 'mocov2/baseline-1e/0 and mocov2/baseline-b-1e/0'
    assert f'{both} differ in nothing but their name; declare one' in err
    assert not processes.commands and not place.records.exists()


def in_process(command):
    """A tool in this process, in place of one of its own."""
    path, *argv = map(str, command)
    verb = Path(path).stem.replace('measure_', '')
    if exit_code(verb, *argv):
        raise StepFailed(f'{path} failed')


def test_a_run_in_earnest(tmp_path, capsys, monkeypatch):
    """Training, both probes, and what the record says of them; a retry on the way."""
    place = Place(
        tmp_path,
        capsys,
        common=dict(
            width=8,
            evaluate_on=['held_out', 'test'],
            stages=True,
            spread=True,
            options={
                'model.queue_len': 32,
                'train_dataloader.batch_size': 4,
                'train_dataloader.num_workers': 0,
                'train_dataloader.dataset.pipeline.0.transforms.0.0.size': 16,
                'default_hooks.logger.interval': 1,
                'default_hooks.throughput.clock': 'cpu',
                'visualizer.name': str(tmp_path),  # shared by name in a process
            },
        ),
        runs=[dict(methods=['mocov2'], variants=['paper'], epochs=[1], seeds=[5])],
    )
    calls = []

    def call(study, command, log):
        calls.append(Path(command[0]).name)
        if len(calls) == 2:
            raise StepFailed('the disk was full')
        in_process(command)

    monkeypatch.setattr(runner.Study, '_call', call)
    assert place.run()[0] == 1
    (failed,) = read_runs(place.records)
    assert (failed['status'], failed['error']) == ('failed', 'the disk was full')
    assert place.run('--retry')[0] == 0
    # what was trained is evaluated without training it again
    assert calls == ['train.py', *3 * ['probe.py'], 'measure_spread.py']

    (record,) = read_runs(place.records)
    (run,) = grid.read_grid(str(place.grid))
    assert record['key'] == run.key == failed['key']
    assert (record['name'], record['status']) == ('mocov2/paper-1e/5', 'ok')
    assert record['train_py_seconds'] > 0
    assert record['versions']['torch'] == torch.__version__
    folder = tmp_path / 'work/mocov2/paper-1e' / f'5-{run.key}'
    text = (folder / 'vis_data/scalars.json').read_text()
    scalars = [json.loads(line) for line in text.splitlines()]
    measured = [s for s in scalars if 'knn_top1' in s]
    assert [s['epoch'] for s in measured] == [0, 1]
    assert record['curve'] == [
        dict(
            epoch=s['epoch'],
            knn=round(s['knn_top1'], 2),
            seconds=round(s['train_seconds'], 2),
        )
        for s in measured
    ]
    assert record['curve'][0]['seconds'] == 0 < record['curve'][1]['seconds']
    steps = [s for s in scalars if 'loss' in s]
    assert [s['step'] for s in steps] == [1, 2, 3, 4]  # 18 of 20 images, by fours
    for name, key in (('step_ms', 'time'), ('data_ms', 'data_time')):
        assert record[name] == round(1000 * mean(s[key] for s in steps), 2)

    for split, number in (('held_out', 2), ('test', 6)):
        assert list(record[split]) == ['knn', 'stages']
        for metric, values in record[split].items():
            result = json.loads((folder / split / metric / 'result.json').read_text())
            assert values == result['metrics'] and result['n'] == number
        stages = ['Feat1', 'Feat2', 'Feat3', 'Feat4', 'Final']
        assert sorted(record[split]['stages']) == stages
        assert record[split]['stages']['Feat1'] == 100  # bright and dark are easy
    assert record['spread'] == json.loads((folder / 'spread.json').read_text())
    assert list(record['spread']) == ['1', '2', '3', '4']
    weights = torch.load(folder / 'epoch_1.pth', weights_only=True)
    assert weights['meta']['seed'] == 5
    assert weights['state_dict']['backbone.conv1.weight'].shape == (8, 3, 3, 3)
