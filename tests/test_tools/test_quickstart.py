"""tools/quickstart.sh and its helpers, on a generated set instead of Fashion-MNIST."""

import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib.image
import pytest

from tests.processes import load_tool
from tests.small_run import FILES, write_dataset
from tests.test_evaluation.test_curves import point, write

ROOT = Path(__file__).parents[2]
converter = load_tool('dataset_converters/fashion_mnist')
reporter = load_tool('quickstart_report')
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
        for time in (step, step, 1.5 * step):
            log = dict(step=e * 100, train_seconds=seconds, time=time, loss=5.0)
            records.append(dict(log, epoch=e))
        records.append(point(e * 100, seconds, top1, epoch=e))
    write(folder / 'vis_data', records)
    return str(folder)


def test_report(tmp_path, capsys):
    baseline = quick_logs(tmp_path / 'a', step=0.4, top1=70.0)
    accel = quick_logs(tmp_path / 'b', step=0.25, top1=68.75)
    assert reporter.main([baseline, accel, '--out', str(tmp_path / 'out')]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [
        'MoCo',
        'v2',
        '(upstream)',
        '3',
        '400',
        'ms',
        '2:00',
        'min',
        '70.0',
        '%',
    ] in lines
    assert ['Accel-MoCo', 'v2', '3', '250', 'ms', '1:15', 'min', '68.8', '%'] in lines
    assert ['ratio', '0.62', '0.62', '-1.2'] in lines
    assert lines[-4][:3] == ['The', 'untrained', 'network'] and '40.0' in lines[-4]

    figures = json.loads((tmp_path / 'out' / 'quickstart.json').read_text())
    assert figures['ratio'] == {'step': 0.625, 'train_seconds': 0.625}
    step_ms = figures['runs'][0]['step_ms']
    assert step_ms == pytest.approx({'median': 400, 'min': 400, 'max': 600})
    assert matplotlib.image.imread(tmp_path / 'out' / 'quickstart.png').shape[1] > 600


def quickstart(*argv, python=sys.executable):
    environment = dict(
        os.environ,
        MMACCEL_VENV='none',
        PYTHON=str(python),
        PATH=f'{Path(sys.executable).parent}:{os.environ["PATH"]}',
        OMP_NUM_THREADS='1',
    )
    command = ['bash', str(ROOT / 'tools' / 'quickstart.sh'), *map(str, argv)]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


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
    assert '1 epochs each' in lines[0] and 'minutes on two CPU cores' in lines[0]
    assert any(line.startswith('MoCo v2 (upstream)') for line in lines)
    assert any(line.startswith('Accel-MoCo v2') for line in lines)
    assert (work_dir / 'quickstart.png').stat().st_size > 10000
    figures = json.loads((work_dir / 'quickstart.json').read_text())
    assert [run['epochs'] for run in figures['runs']] == [1, 1]


def test_quickstart_again_after_an_interruption(idx, tmp_path):
    """Its own logic: an interpreter that only notes what it should run."""
    calls, broken = tmp_path / 'calls', tmp_path / 'broken'
    fake(
        tmp_path,
        'python',
        '[[ "$*" == *train.py* || "$*" == *report.py* ]] || '
        f'exec {sys.executable} "$@"\n'
        f'echo "$*" >> {calls}; echo "x - INFO - Epoch(knn) [1]"\n'
        f'[[ "$*" != *accel*train* && "$*" != *train*accel* || ! -e {broken} ]]',
    )
    work = tmp_path / 'work'
    argv = ['--data', idx, '--epochs', 3, '--work-dir', work, '--', 'a.b=1']

    broken.touch()
    done = quickstart(*argv, python=tmp_path / 'python')
    assert done.returncode == 1
    assert 'accel-mocov2 did not finish' in done.stderr
    first, second = calls.read_text().splitlines()
    for call, name in ((first, 'mocov2'), (second, 'accel-mocov2')):
        assert f'configs/small/{name}_r18_fashion-mnist_quickstart.py' in call
        assert f'--work-dir {tmp_path}/work/{name}-3e --seed 0 --resume' in call
        assert f'train_dataloader.dataset.data_prefix={idx} ' in call
        assert 'train_cfg.max_epochs=3' in call and call.endswith(' a.b=1')

    broken.unlink()
    calls.unlink()
    done = quickstart(*argv, python=tmp_path / 'python')
    assert done.returncode == 0, done.stderr
    assert '  Epoch(knn) [1]' in done.stdout.splitlines()
    assert '\n[quickstart] mocov2: finished before, used again' in done.stdout
    train, report = calls.read_text().splitlines()
    assert 'accel-mocov2_r18' in train and '--resume' in train
    assert report.endswith(
        f'report.py {tmp_path}/work/mocov2-3e {tmp_path}/work/accel-mocov2-3e '
        f'--out {tmp_path}/work'
    )

    calls.unlink()
    assert quickstart(*argv, python=tmp_path / 'python').returncode == 0
    assert 'train.py' not in calls.read_text()


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
