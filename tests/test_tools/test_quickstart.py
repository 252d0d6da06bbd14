"""tools/quickstart.sh and its helpers, on a generated set instead of Fashion-MNIST."""

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import matplotlib.image
import pytest

from tests.processes import load_tool
from tests.small_run import FILES, write_dataset
from tests.test_evaluation.test_curves import point, write

ROOT = Path(__file__).parents[2]
converter = load_tool('dataset_converters/fashion_mnist')
tool = load_tool('quickstart')
NAMES = [name for names in FILES.values() for name in names]


@pytest.fixture
def idx(tmp_path):
    return write_dataset(tmp_path / 'idx', 8, 4)


@pytest.fixture
def packed(tmp_path, idx):
    folder = tmp_path / 'packed' / 'raw'
    folder.mkdir(parents=True)
    for name in NAMES:
        (folder / f'{name}.gz').write_bytes(gzip.compress((idx / name).read_bytes()))
    return folder.parent


def prepared(capsys, *argv):
    code = converter.main([str(arg) for arg in argv])
    captured = capsys.readouterr()
    return code, captured.out.strip(), captured.err


def test_an_unpacked_folder_is_used_where_it_is(idx, tmp_path, capsys):
    out = tmp_path / 'out'
    assert prepared(capsys, '--data', idx, '--out', out) == (0, str(idx), '')
    assert not out.exists()


def test_packed_files_are_unpacked(packed, idx, tmp_path, capsys):
    out = tmp_path / 'out'
    code, folder, _ = prepared(capsys, '--data', packed, '--out', out)
    assert (code, folder) == (0, str(out))
    assert sorted(path.name for path in out.iterdir()) == sorted(NAMES)
    for name in NAMES:
        assert (out / name).read_bytes() == (idx / name).read_bytes()
    # from now on nothing needs to be fetched
    assert prepared(capsys, '--out', out) == (0, str(out), '')


def test_damaged_files_are_refused(packed, tmp_path, capsys):
    out = tmp_path / 'out'
    images = packed / 'raw' / f'{NAMES[0]}.gz'
    whole = images.read_bytes()
    images.write_bytes(whole[:-20])
    code, _, error = prepared(capsys, '--data', packed, '--out', out)
    assert code == 1 and f'{images} is damaged' in error
    images.write_bytes(gzip.compress(gzip.decompress(whole)[:-1]))
    code, _, error = prepared(capsys, '--data', packed, '--out', out)
    assert code == 1 and 'not a whole idx file' in error
    assert not out.exists()
    images.unlink()
    code, _, error = prepared(capsys, '--data', packed, '--out', out)
    assert code == 1 and f'lacks {NAMES[0]}' in error
    code, _, error = prepared(capsys, '--data', tmp_path / 'no')
    assert code == 1 and 'there is no folder' in error


def fake(folder, name, script):
    path = folder / name
    path.write_text(f'#!{shutil.which("bash")}\n{script}\n')
    path.chmod(0o755)


@pytest.mark.parametrize('lists', [True, False])
def test_debian_package_without_root(packed, tmp_path, monkeypatch, lists):
    """With the system's package lists, and with private ones where it has none."""
    bin_dir = tmp_path / 'bin'
    bin_dir.mkdir()
    known = 'true' if lists else '[[ "$*" == *Dir::State::lists=* ]]'
    log = tmp_path / 'log'
    fake(
        bin_dir,
        'apt-get',
        f'echo "$*" >> {log}\n'
        f'[[ "$*" == *update ]] && exit 0\n'
        f'{known} && touch dataset.deb',
    )
    fake(bin_dir, 'dpkg-deb', f'mkdir "$3" && cp -r {packed} "$3/usr"')
    monkeypatch.setenv('PATH', str(bin_dir), prepend=':')
    out = tmp_path / 'out'
    converter.from_debian(out, timeout=20)
    assert converter.is_complete(out)
    calls = log.read_text().splitlines()
    assert calls[0] == 'download dataset-fashion-mnist'
    assert len(calls) == (1 if lists else 3)


def test_nothing_reachable_says_what_to_do(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('PATH', str(tmp_path))  # no apt-get

    def refuse(url, timeout):
        raise OSError('no route to host')

    monkeypatch.setattr('urllib.request.urlopen', refuse)
    code, _, error = prepared(capsys, '--out', tmp_path / 'out')
    assert code == 1
    assert 'there is no apt-get here' in error and 'no route to host' in error
    assert 'give their folder with --data' in error


def quick_logs(folder, step, top1, epochs=3):
    records = [point(0, 0.0, 40.0, epoch=0)]
    for e in range(1, epochs + 1):
        seconds = 100 * step * e
        for took in (step, step, 1.5 * step):
            log = dict(step=e * 100, train_seconds=seconds, time=took, loss=5.0)
            records.append(dict(log, epoch=e))
        records.append(point(e * 100, seconds, top1, epoch=e))
    write(folder / 'vis_data', records)
    return str(folder)


def test_report(tmp_path):
    folders = [
        quick_logs(tmp_path / name, step=step, top1=top1)
        for name, step, top1 in (('a', 0.4, 70.0), ('b', 0.25, 55.0), ('c', 0.2, 71.0))
    ]
    text = tool.report(folders, tmp_path / 'out')
    lines = [line.split()[-7:] for line in text.splitlines()]
    assert lines[1] == ['ms', '2:00', 'min', '1.00', '70.0', '%', '1.00']
    # 55 lies halfway between untrained and the first evaluation: after 20 s of 75 s
    assert lines[2] == ['ms', '1:15', 'min', '0.62', '55.0', '%', '0.27']
    # the baseline never has 71: at least its 120 s against 60 s
    assert text.splitlines()[3].endswith('71.0 %     > 2.00')
    assert '40.0 %' in text.splitlines()[-1]

    figures = json.loads((tmp_path / 'out' / 'quickstart.json').read_text())
    assert [run['time_ratio'] for run in figures['runs']] == [1, 0.625, 0.5]
    step_ms = figures['runs'][0]['step_ms']
    assert step_ms == pytest.approx({'median': 400, 'min': 400, 'max': 600})
    assert matplotlib.image.imread(tmp_path / 'out' / 'quickstart.png').shape[1] > 600


@pytest.mark.parametrize(
    'in_time, epochs, images',
    [
        ([60, 30, 20], 8, 1000),  # 10 epochs of all three would fit
        ([30, 15, 10], 5, 1000),
        ([6, 3, 2], 3, 320),  # one epoch of all three: three of a third of the images
        ([0.006, 0.003, 0.002], 3, 16),  # one batch at least
    ],
)
def test_epochs_fit_the_time(monkeypatch, in_time, epochs, images):
    presets = [{'epochs_in_time': n, 'batch_size': 16} for n in in_time]
    monkeypatch.setattr(
        'mmaccel.analysis.budget.budget_report',
        lambda *args, **kwargs: {'images_per_epoch': 1000, 'presets': presets},
    )
    assert tool.fit(6.0, []) == {'epochs': epochs, 'images': images}


def quickstart(*argv, python=sys.executable, wait=True):
    environment = dict(
        os.environ,
        MMACCEL_VENV='none',
        PYTHON=str(python),
        PATH=f'{Path(sys.executable).parent}:{os.environ["PATH"]}',
        OMP_NUM_THREADS='1',
    )
    command = ['bash', str(ROOT / 'tools' / 'quickstart.sh'), *map(str, argv)]
    if not wait:
        return subprocess.Popen(command, env=environment, preexec_fn=_hear_interrupts)
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def _hear_interrupts():
    """A shell cannot trap what was ignored where tests run in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def short_path():
    """mmengine prints configs through yapf, which takes seconds for long paths."""
    with tempfile.TemporaryDirectory(prefix='q') as folder:
        yield Path(folder)


def test_quickstart_from_data_to_picture(short_path):
    data = write_dataset(short_path / 'data')
    work_dir = short_path / 'work'
    options = [
        'train_dataloader.batch_size=16',
        'train_dataloader.num_workers=0',
        'train_dataloader.dataset.indices=64',
        'model.queue_len=32',
        'default_hooks.logger.interval=2',
    ]
    argv = ['--data', data, '--epochs', 1, '--work-dir', work_dir, '--', *options]
    done = quickstart(*argv)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    for label in ('MoCo v2 (upstream)', 'the paper', 'best'):
        assert any(line.startswith(label) for line in lines)
    assert (work_dir / 'quickstart.png').stat().st_size > 10000
    figures = json.loads((work_dir / 'quickstart.json').read_text())
    assert [run['epochs'] for run in figures['runs']] == [1, 1, 1]


def test_quickstart_again_after_an_interruption(tmp_path, monkeypatch, capsys):
    """Its own logic: an interpreter that only notes what it should run."""
    calls, broken = tmp_path / 'calls', tmp_path / 'broken'
    fake(
        tmp_path,
        'python',
        f'echo "$*" >> {calls}; echo "x - INFO - Epoch(knn) [1]"\n'
        f'[[ "$*" != *quickstart.py* || ! -e {broken} ]]',
    )
    monkeypatch.setenv('MMACCEL_PYTHON', str(tmp_path / 'python'))
    plans = []

    def fit(minutes, settings):
        plans.append(settings)
        return {'epochs': 3, 'images': 640}

    monkeypatch.setattr(tool, 'fit', fit)
    monkeypatch.setattr(tool, 'report', lambda folders, out: 'the table')
    work = tmp_path / 'work'
    argv = ['--data', 'images', '--work-dir', str(work), '--', 'a.b=1']

    broken.touch()
    assert tool.main(argv) == 1
    assert 'upstream) did not finish' in capsys.readouterr().err
    (call,) = calls.read_text().splitlines()
    assert 'configs/small/mocov2_r18_fashion-mnist_quickstart.py' in call
    assert f'--work-dir {work}/mocov2-3e --seed 0 --resume' in call
    assert 'train_dataloader.dataset.data_prefix=images ' in call
    assert 'train_dataloader.dataset.indices=640 ' in call
    assert 'train_cfg.max_epochs=3' in call and call.endswith(' a.b=1')

    broken.unlink()
    assert tool.main(argv) == 0
    assert len(plans) == 1  # the first plan holds, whatever the speed is now
    out = capsys.readouterr().out
    assert '  Epoch(knn) [1]' in out.splitlines() and 'the table' in out
    assert len(calls.read_text().splitlines()) == 4
    assert tool.main(argv) == 0
    assert len(calls.read_text().splitlines()) == 4
    assert capsys.readouterr().out.count('finished before') == 3


@pytest.mark.parametrize('sent, code', [('SIGTERM', 143), ('SIGINT', 130)])
def test_a_signal_ends_what_quickstart_started(idx, tmp_path, sent, code):
    started = tmp_path / 'started'
    fake(
        tmp_path,
        'python',
        f'[[ "$*" == *quickstart.py* ]] || exec {sys.executable} "$@"\n'
        f'sleep 1000 & echo $! > {started}.new; mv {started}.new {started}; wait',
    )
    argv = ('--data', idx, '--work-dir', tmp_path / 'work')
    with quickstart(*argv, python=tmp_path / 'python', wait=False) as process:
        _wait_for(started.exists)
        child = int(started.read_text())
        process.send_signal(getattr(signal, sent))
        assert process.wait(30) == code
    _wait_for(lambda: not Path(f'/proc/{child}/stat').exists() or _is_dead(child))


def _wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def _is_dead(pid):
    return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] == 'Z'


def test_quickstart_refuses_bad_arguments(tmp_path):
    for argv, message in (
        (['--epochs', '0'], '--epochs must be a positive number, not 0'),
        (['--data'], '--data needs a value'),
        (['--dataset', 'x'], 'unknown argument --dataset; see --help'),
        (['--data', tmp_path / 'no'], f'there is no folder {tmp_path}/no'),
    ):
        done = quickstart(*argv)
        assert done.returncode == 1 and message in done.stderr
    assert 'Examples:' in quickstart('--help').stdout
