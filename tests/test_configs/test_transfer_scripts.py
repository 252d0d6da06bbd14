"""The launchers of detection and segmentation pass on what they are given."""

import os
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / 'tools/benchmarks'


@pytest.mark.parametrize('package, gpus', [('mmdetection', 8), ('mmsegmentation', 4)])
@pytest.mark.parametrize(
    'script, argv, expected',
    [
        ('dist_train', 'c w 2', 'train.py c --launcher pytorch --pretrained w'),
        ('dist_test', 'c w 2', 'test.py c w --launcher pytorch'),
        ('slurm_train', 'gpu job c w', 'train.py c --launcher slurm --pretrained w'),
    ],
)
def test_arguments_are_passed_on(package, gpus, script, argv, expected, tmp_path):
    path = FOLDER / package / f'{script}.sh'
    for name in ('python', 'srun'):
        (tmp_path / name).write_text('#!/bin/sh\necho "$@"\n')
        (tmp_path / name).chmod(0o755)
    environment = {
        **os.environ,
        'PATH': f'{tmp_path}:{os.environ["PATH"]}',
        'PYTHON': str(tmp_path / 'python'),
    }

    def run(*argv):
        return subprocess.run(
            ['bash', path, *argv], env=environment, capture_output=True, text=True
        )

    asked = run('--help')
    assert asked.returncode == 0 and 'example' in asked.stdout
    assert run().returncode == 2
    done = run(*argv.split(), '--seed', '1')
    assert done.stdout.strip().endswith(f'{expected} --seed 1'), done.stderr
    where = f'-p gpu --job-name=job --gres=gpu:{gpus}'
    assert (where if script == 'slurm_train' else '--nproc_per_node=2') in done.stdout
