import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmaccel.cli import main
from tests.folder_run import write_config, write_images
from tests.processes import TOOLS, run_tool

NO_WORKERS = {'train_dataloader.num_workers': 0}


def files(folder, pattern):
    return sorted(path.name for path in Path(folder).glob(pattern))


def test_run_and_resume_leave_one_set_of_curves(tmp_path, monkeypatch):
    """A config outside the repository, from another folder, with the default place."""
    write_images(tmp_path / 'images', 8)
    config = write_config(tmp_path / 'mine.py', tmp_path / 'images', accel=True)
    monkeypatch.chdir(tmp_path)
    argv = ['mine.py', '--cfg-options', 'train_dataloader.num_workers=0']
    assert config == str(tmp_path / 'mine.py')
    assert run_tool('train', *argv, '--seed', '4', log='log') == 0
    log = Path('log').read_text()
    assert f'seed 4, results in {tmp_path}/work_dirs/mine' in log
    assert f'tensorboard --logdir {tmp_path}/work_dirs/mine' in log
    assert (
        run_tool('train', *argv, 'train_cfg.max_epochs=4', '--resume', log='log') == 0
    )
    out = tmp_path / 'work_dirs' / 'mine'
    assert files(out, '*.pth') == [f'epoch_{i}.pth' for i in (1, 2, 3, 4)]
    assert len(files(out, 'vis_data/events.out.tfevents*')) == 2
    lines = (out / 'vis_data' / 'scalars.json').read_text().splitlines()
    assert [json.loads(line)['step'] for line in lines] == [2, 4, 6, 8]
    # what was run stands in the work directory and can be run again
    assert Config.fromfile(str(out / 'mine.py')).train_cfg.type == 'ResumableTrainLoop'
    argv[0] = str(out / 'mine.py')
    assert (
        run_tool('train', *argv, 'train_cfg.max_epochs=5', '--resume', log='log') == 0
    )
    assert files(out, 'epoch_5.pth')


def test_resume_passes_over_a_damaged_checkpoint(tmp_path):
    write_images(tmp_path / 'images', 8)
    config = write_config(tmp_path / 'run.py', tmp_path / 'images', **NO_WORKERS)
    out, log = tmp_path / 'out', tmp_path / 'log'
    argv = [config, '--work-dir', str(out)]
    # with nothing to resume it starts anew
    assert run_tool('train', *argv, '--resume', log=log) == 0
    assert f'No checkpoint in {out} yet: training starts anew' in log.read_text()
    end = torch.load(out / 'epoch_2.pth', weights_only=True)
    (out / 'epoch_2.pth').write_bytes(b'')
    assert run_tool('train', *argv, '--resume', log=log) == 0
    assert f'{out}/epoch_2.pth is skipped' in log.read_text()
    again = torch.load(out / 'epoch_2.pth', weights_only=True)
    for name, value in end['state_dict'].items():
        assert torch.equal(again['state_dict'][name], value)


@pytest.fixture
def photos(tmp_path):
    return write_images(tmp_path / 'images', 24)


def break_file(path, how):
    content = path.read_bytes()
    half = len(content) // 2
    path.write_bytes(
        dict(truncated=content[:half], garbage=os.urandom(500), empty=b'')[how]
    )


@pytest.mark.parametrize(
    ('how', 'reason'),
    [
        ('truncated', 'the JPEG file is truncated'),
        ('garbage', 'not an image'),
        ('empty', 'the file is empty'),
    ],
)
def test_unreadable_image_is_replaced_and_named(tmp_path, photos, how, reason):
    break_file(photos[5], how)
    config = write_config(tmp_path / 'run.py', tmp_path / 'images')
    log = tmp_path / 'log'
    assert run_tool('train', config, '--work-dir', str(tmp_path / 'o'), log=log) == 0
    warnings = [line for line in log.read_text().splitlines() if 'Replaced' in line]
    assert len(warnings) == 1 and 'WARNING' in warnings[0]
    assert f'{photos[5]} ({reason}' in warnings[0] and '1 so far' in warnings[0]


def test_many_unreadable_images_stop_the_run(tmp_path, photos):
    for path in photos[:2]:
        break_file(path, 'truncated')
    config = write_config(tmp_path / 'run.py', tmp_path / 'images')
    log = tmp_path / 'log'
    assert run_tool('train', config, '--work-dir', str(tmp_path / 'o'), log=log) == 1
    last = log.read_text().strip().splitlines()[-1]
    assert last.startswith('error: 2 of 24 images could not be read, more than 1.00%')
    assert 'Saving checkpoint at 2 epochs' not in log.read_text()


@pytest.mark.parametrize('workers', [0, 1])
def test_nothing_but_unreadable_images(tmp_path, photos, workers):
    for path in photos:
        break_file(path, 'garbage')
    options = {'train_dataloader.num_workers': workers}
    config = write_config(tmp_path / 'run.py', tmp_path / 'images', **options)
    log = tmp_path / 'log'
    assert run_tool('train', config, '--work-dir', str(tmp_path / 'o'), log=log) == 1
    last = log.read_text().strip().splitlines()[-1]
    assert last.startswith('error: 20 images in a row could not be read, the last was')
    assert last.endswith('check that the data folder is complete and mounted')


@pytest.mark.parametrize('accumulated', [1, 2])
def test_learning_rate_follows_the_batch_of_an_update(tmp_path, accumulated):
    write_images(tmp_path / 'images', 8)
    options = {
        **NO_WORKERS,
        'auto_scale_lr': dict(base_batch_size=16),
        'optim_wrapper.accumulative_counts': accumulated,
    }
    config = write_config(tmp_path / 'run.py', tmp_path / 'images', epochs=1, **options)
    argv = [config, '--work-dir', str(tmp_path / 'o'), '--auto-scale-lr']
    assert run_tool('train', *argv, log=tmp_path / 'log') == 0
    scalars = tmp_path / 'o' / 'vis_data' / 'scalars.json'
    assert json.loads(scalars.read_text().splitlines()[0])['lr'] == pytest.approx(
        0.05 * 4 * accumulated / 16
    )


def test_script_trains_a_recipe_over_a_plain_folder(tmp_path):
    """The README's command for several processes, with a recipe made small."""
    root = TOOLS.parent
    write_images(tmp_path / 'photos', 16)
    command = [
        'bash',
        str(TOOLS / 'dist_train.sh'),
        str(root / 'configs/accel/mocov2_r50_8xb32.py'),
        '2',
        '--work-dir',
        'out',
        '--cfg-options',
        'train_dataloader.dataset.type=UnlabelledFolder',
        'train_dataloader.dataset.data_root=photos',
        'train_dataloader.batch_size=2',
        'train_dataloader.num_workers=0',
        'train_dataloader.dataset.pipeline.1.transforms.0.0.size=64',
        'train_cfg.max_epochs=1',
        'model.queue_len=16',
        'model.backbone.depth=18',
        'model.neck.in_channels=(64,128,256,512)',
        'model.neck.hid_channels=16',
        'default_hooks.logger.interval=2',
    ]
    env = dict(os.environ, PYTHON=sys.executable, PORT='29678', OMP_NUM_THREADS='1')
    done = subprocess.run(
        command, cwd=tmp_path, env=env, text=True, capture_output=True, timeout=200
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert files(tmp_path / 'out', '*.pth') == ['epoch_1.pth']
    cfg = Config.fromfile(str(tmp_path / 'out' / 'mocov2_r50_8xb32.py'))
    assert cfg.env_cfg.dist_cfg.backend == 'gloo'


@pytest.mark.parametrize('name', ['dist_train', 'dist_test', 'slurm_train'])
def test_scripts_explain_themselves(name):
    script = str(TOOLS / f'{name}.sh')
    shown = subprocess.run(['bash', script, '--help'], capture_output=True, text=True)
    assert shown.returncode == 0
    assert shown.stdout.startswith('usage:') and 'example' in shown.stdout
    assert subprocess.run(['bash', script], capture_output=True).returncode == 2


def test_slurm_script_hands_its_arguments_on(tmp_path):
    """With a stand-in for ``srun`` that shows them, one a line."""
    srun = tmp_path / 'srun'
    srun.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    srun.chmod(0o755)
    env = dict(
        os.environ,
        PATH=f'{tmp_path}:{os.environ["PATH"]}',
        PYTHON='my-python',
        GPUS='16',
        SRUN_ARGS='--time=1 --mem=2',
    )
    script = str(TOOLS / 'slurm_train.sh')
    command = ['bash', script, 'gpu', 'job', 'my config.py', '--resume', 'a b.pth']
    shown = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    lines = shown.stdout.splitlines()
    assert lines[:2] == ['-p', 'gpu'] and '--ntasks=16' in lines
    assert lines[-10:-6] == ['--time=1', '--mem=2', 'my-python', '-u']
    assert lines[-6:] == [
        str(TOOLS / 'train.py'),
        'my config.py',
        '--launcher',
        'slurm',
        '--resume',
        'a b.pth',
    ]


@pytest.mark.parametrize('gpus, per_node', [('4', '4'), ('16', '8')])
def test_slurm_script_asks_for_no_more_gpus_than_it_uses(tmp_path, gpus, per_node):
    srun = tmp_path / 'srun'
    srun.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    srun.chmod(0o755)
    path = f'{tmp_path}:{os.environ["PATH"]}'
    command = ['bash', str(TOOLS / 'slurm_train.sh'), 'part', 'job', 'config.py']
    shown = subprocess.run(
        command,
        env=dict(os.environ, PATH=path, GPUS=gpus),
        capture_output=True,
        text=True,
        check=True,
    )
    wanted = {f'--gres=gpu:{per_node}', f'--ntasks-per-node={per_node}'}
    assert {*wanted, f'--ntasks={gpus}'} <= set(shown.stdout.splitlines())


@pytest.mark.parametrize('name', ['train', 'test'])
def test_help_has_examples(name, capsys):
    with pytest.raises(SystemExit) as caught:
        main([name, '--help'])
    assert caught.value.code == 0
    assert 'examples:' in capsys.readouterr().out


def test_bfloat16_trains_and_resumes(tmp_path):
    write_images(tmp_path / 'images', 8)
    config = write_config(tmp_path / 'mine.py', tmp_path / 'images', accel=True)
    out, log = tmp_path / 'out', tmp_path / 'log'
    argv = [config, '--work-dir', str(out), '--seed', '4', '--amp', 'bf16']
    argv += ['--cfg-options', 'train_dataloader.num_workers=0']
    for ranks, more in ((1, []), (2, ['train_cfg.max_epochs=3', '--resume'])):
        code = run_tool('train', *argv, *more, log=log, ranks=ranks)
        assert code == 0, log.read_text()
    saved = torch.load(out / 'epoch_3.pth', weights_only=True)['state_dict']
    assert all(x.dtype != torch.bfloat16 for x in saved.values())
    written = Config.fromfile(str(out / 'mine.py')).optim_wrapper.type
    assert written == 'AutocastOptimWrapper'


@pytest.mark.parametrize('fast_views', [False, True])
def test_multi_crop_runs_through_the_pipeline_and_resumes(tmp_path, fast_views):
    """Two large and three small views; the second epoch is the same after a resume."""
    write_images(tmp_path / 'images', 8)
    config = write_config(tmp_path / 'run.py', tmp_path / 'images', accel=True)
    cfg = Config.fromfile(config)
    cfg.fast_views = fast_views
    views = cfg.train_dataloader.dataset.pipeline[1]
    small = copy.deepcopy(views.transforms[0])
    small[0].size = 16
    views.update(num_views=[2, 3], transforms=[views.transforms[0], small])
    cfg.dump(config)
    out, log = tmp_path / 'out', tmp_path / 'log'
    argv = [config, '--work-dir', str(out), '--seed', '3']
    argv += ['--cfg-options', 'train_dataloader.num_workers=0']
    argv += ['train_dataloader.persistent_workers=False']
    assert run_tool('train', *argv, log=log) == 0, log.read_text()
    end = torch.load(out / 'epoch_2.pth', weights_only=True)['state_dict']
    (out / 'epoch_2.pth').unlink()
    (out / 'last_checkpoint').unlink()
    assert run_tool('train', *argv, '--resume', log=log) == 0, log.read_text()
    again = torch.load(out / 'epoch_2.pth', weights_only=True)['state_dict']
    assert all(torch.equal(again[name], value) for name, value in end.items())


@pytest.mark.parametrize('gpus', ['0', '08', 'abc', '--resume'])
@pytest.mark.parametrize('script', ['slurm_train', 'dist_train', 'benchmarks/run_all'])
def test_a_number_of_processes_that_is_none(script, gpus):
    arguments = ['part', 'job', 'c.py'] if script == 'slurm_train' else ['c.py', gpus]
    done = subprocess.run(
        ['bash', str(TOOLS / f'{script}.sh'), *arguments],
        env=dict(os.environ, GPUS=gpus),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and f"GPUS is '{gpus}'" in done.stderr
