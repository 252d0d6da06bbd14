"""The runner: what is started and recorded, what is skipped, and a run in earnest."""

import copy
import functools
import importlib.util
import json
import signal
import sys
from pathlib import Path
from statistics import median

import numpy as np
import pytest
import torch
from PIL import Image

from mmaccel.study import grid, runner
from mmaccel.study.records import read_records
from mmaccel.study.runner import StepFailed

TOOLS = Path(__file__).parents[2] / 'tools'
BASELINE = 'configs/study/mocov2_r18_cifar10.py'
ACCEL = 'configs/study/accel-mocov2_r18_cifar10.py'


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_read = functools.lru_cache(grid.load_config)


@pytest.fixture(autouse=True)
def quick_configs(monkeypatch):
    """A file is read once, and not printed through yapf, which takes seconds."""
    monkeypatch.setattr(grid, 'load_config', lambda path: copy.deepcopy(_read(path)))
    monkeypatch.setattr(
        'mmengine.config.config.FormatCode', lambda text, **_: (text, 1)
    )


@pytest.fixture(scope='module')
def tool():
    return load(TOOLS / 'study/run.py')


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

    def __init__(self, folder, tool, capsys, **declared):
        self.folder = folder
        self.tool = tool
        self.capsys = capsys
        self.grid = folder / 'grid.py'
        self.grid.write_text('\n'.join(f'{k} = {v!r}' for k, v in declared.items()))
        self.records = folder / 'records.jsonl'
        write_images(folder / 'data')

    def run(self, *argv):
        """Exit code, what is printed, and the error."""
        code = self.tool.main(
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
        return {r['name']: r['status'] for r in read_records(self.records)}

    def lines(self):
        return len(self.records.read_text().splitlines())


class Processes:
    """Stands in for ``subprocess.call``: tools that only leave their files."""

    def __init__(self):
        self.commands = []
        self.broken = {}  # seed of a training to the exit code that it ends with
        self.silent = ()  # seeds of trainings that leave no log

    def __call__(self, command, stdout, stderr, env):
        python, tool, *argv = command
        assert python == sys.executable and Path(tool).is_file()
        assert env['OMP_NUM_THREADS'] == '1' or torch.cuda.is_available()
        assert all(isinstance(arg, str) for arg in argv)
        self.commands.append((Path(tool).stem, argv))
        work_dir = Path(argv[argv.index('--work-dir') + 1])
        if Path(tool).stem == 'train':
            seed = argv[argv.index('--seed') + 1]
            stdout.write('much before\n' * 100 + f'the end of seed {seed}\n')
            if seed in self.broken:
                return self.broken[seed]
            if seed not in self.silent:
                self.train(work_dir)
        else:
            for name in argv[argv.index('--metrics') + 1 : argv.index('--metrics') + 3]:
                (work_dir / name).mkdir(parents=True)
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
        folder.mkdir()
        folder.joinpath('scalars.json').write_text('\n'.join(map(json.dumps, lines)))


@pytest.fixture
def processes(monkeypatch):
    fake = Processes()
    monkeypatch.setattr(runner.subprocess, 'call', fake)
    return fake


@pytest.fixture
def place(tmp_path, tool, capsys):
    """Three seeds of one config."""
    common = dict(config=BASELINE, epochs=12, width=8, judge=['held_out', 'test'])
    runs = [dict(group='m/a', seeds=[0, 1, 2])]
    return Place(tmp_path, tool, capsys, common=common, runs=runs)


def test_what_ends_well_is_recorded_once_and_skipped(place, processes):
    code, out, _ = place.run('--only', '*/0')
    assert code == 0 and '1 runs, 1 to do' in out
    (record,) = read_records(place.records)
    assert record['name'] == 'm/a/0' and record['status'] == 'ok'
    assert record['run']['epochs'] == 12 and record['run']['seed'] == 0
    # an epoch that a resumed run measured again has its later value
    assert record['curve'] == [
        dict(epoch=0, knn=10.0, seconds=0.0),
        dict(epoch=5, knn=30.0, seconds=5.0),
        dict(epoch=10, knn=40.0, seconds=11.0),
        dict(epoch=12, knn=45.68, seconds=13.46),
    ]
    assert (record['step_ms'], record['data_ms']) == (200.0, 20.0)
    judged = dict(knn=dict(top1=5), linear=dict(top1=5))
    assert record['held_out'] == record['test'] == judged

    (_, train), (_, held_out), (_, test) = processes.commands
    folder = place.folder / 'work/m/a' / f'0-{record["key"]}'
    where = ['--work-dir', str(folder)]
    assert train == [str(folder / 'run.json'), *where, '--seed', '0', '--resume']
    assert held_out[:2] == [str(folder / 'run.json'), str(folder / 'epoch_12.pth')]
    assert '--data-root' not in held_out
    assert test[-2:] == ['--data-root', str(place.folder / 'data')]
    assert not list(folder.glob('*/features'))

    assert place.run('--only', '*/0')[:2] == (0, '1 runs, 0 to do\n')
    assert len(processes.commands) == 3 and place.lines() == 1


def test_failures_are_recorded_and_others_go_on(place, processes):
    processes.broken, processes.silent = {'0': 3}, ('1',)
    code, _, err = place.run('--jobs', '2')
    assert code == 1
    assert '2 of 3 runs did not end: m/a/0, m/a/1;' in err and '--retry' in err
    assert place.status() == {'m/a/0': 'failed', 'm/a/1': 'failed', 'm/a/2': 'ok'}
    records = {r['name']: r for r in read_records(place.records)}
    error = records['m/a/0']['error']
    assert error.startswith('train.py ended with 3: ') and len(error) < 600
    assert error.endswith('much before\nthe end of seed 0')
    error = records['m/a/1']['error']  # one that nobody foresaw
    assert error.startswith('FileNotFoundError: ') and 'scalars.json' in error
    assert not any('curve' in records[name] for name in ('m/a/0', 'm/a/1'))

    out = place.run('--list')[1]
    assert out == 'failed   m/a/0\nfailed   m/a/1\nok       m/a/2\n'
    processes.broken, processes.silent = {}, ()
    assert place.run('--only', '*/0')[:2] == (0, '1 runs, 0 to do\n')
    code, out, _ = place.run('--retry')
    assert code == 0 and '3 runs, 2 to do' in out
    assert set(place.status().values()) == {'ok'} and place.lines() == 5


def test_an_interrupted_run_is_still_to_do(place, processes):
    for number in (signal.SIGINT, signal.SIGTERM):
        processes.broken = {'0': -number}
        code, out, _ = place.run('--only', '*/0')
        assert code == 1 and 'stopped m/a/0' in out
        assert not place.records.exists()
    processes.broken = {'0': -signal.SIGKILL}  # out of memory: a failure
    assert place.run('--only', '*/0')[0] == 1
    assert place.status() == {'m/a/0': 'failed'}


def test_what_cannot_be_meant_is_refused_before_anything_starts(place, processes):
    code, _, err = place.run('--only', 'm/a/*', 'm/b/*')
    assert (code, err) == (
        1,
        'error: no run is called m/b/*; --list shows their names\n',
    )
    (place.folder / 'data/test').rename(place.folder / 'data/val')
    code, _, err = place.run()
    assert code == 1
    assert 'data has no images in test/<class>/; name the folder' in err
    text = "runs = [dict(group=g, config={!r}, epochs=1) for g in ('x', 'y')]"
    place.grid.write_text(text.format(BASELINE))
    code, _, err = place.run()
    assert code == 1
    assert 'x/0 and y/0 differ in nothing but their name; declare one' in err
    assert not processes.commands and not place.records.exists()


def in_process(command, more, log):
    """A tool's ``main`` in this process, in place of one of its own."""
    path, *argv = map(str, [*command, *more])
    if load(Path(path)).main(argv):
        raise StepFailed(f'{path} failed')


def test_a_run_in_earnest(tmp_path, tool, capsys, monkeypatch):
    """Training, both probes, and what the record says of them; a retry on the way."""
    place = Place(
        tmp_path,
        tool,
        capsys,
        common=dict(
            config=ACCEL,
            epochs=1,
            width=8,
            judge=['held_out', 'test'],
            stages=True,
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
        runs=[dict(group='m/accel', seeds=[5])],
    )
    calls = []

    def call(command, more, log):
        calls.append(Path(command[0]).name)
        if len(calls) == 2:
            raise StepFailed('the disk was full')
        in_process(command, more, log)

    monkeypatch.setattr(runner, '_call', call)
    assert place.run()[0] == 1
    (failed,) = read_records(place.records)
    assert (failed['status'], failed['error']) == ('failed', 'the disk was full')
    assert place.run('--retry')[0] == 0
    assert calls == ['train.py', 'probe.py', 'train.py', 'probe.py', 'probe.py']

    (record,) = read_records(place.records)
    (run,) = grid.read_grid(str(place.grid))
    assert record['key'] == run.key == failed['key']
    assert (record['name'], record['status']) == ('m/accel/5', 'ok')
    assert record['versions']['torch'] == torch.__version__
    folder = tmp_path / 'work/m/accel' / f'5-{run.key}'
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
        assert record[name] == round(1000 * median(s[key] for s in steps), 2)

    for split, number in (('held_out', 2), ('test', 6)):
        assert list(record[split]) == ['knn', 'stages']
        for metric, values in record[split].items():
            result = json.loads((folder / split / metric / 'result.json').read_text())
            assert values == result['metrics'] and result['n'] == number
        stages = ['Feat1', 'Feat2', 'Feat3', 'Feat4', 'Final']
        assert sorted(record[split]['stages']) == stages
        assert record[split]['stages']['Feat1'] == 100  # bright and dark are easy
    weights = torch.load(folder / 'epoch_1.pth', weights_only=True)
    assert weights['meta']['seed'] == 5
    assert weights['state_dict']['backbone.conv1.weight'].shape == (8, 3, 3, 3)
