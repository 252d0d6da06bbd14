"""Every command of the README that needs no GPU is run, on small data."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.small_run import write_dataset

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / 'README.md').read_text(encoding='utf-8')

#: Added to a command that starts so, to make it small.
SMALL_STEP = ['--size', '64']
SMALL_TRAINING = [
    'train_cfg.max_epochs=1',
    'train_dataloader.batch_size=4',
    'model.queue_len=32',
    'train_dataloader.num_workers=0',
]
EXTRA = {
    'bash tools/quickstart.sh': [
        '--epochs',
        '1',
        '--data',
        '{data}/idx',
        '--work-dir',
        '{work}',
        '--',
        'train_dataloader.batch_size=16',
        'train_dataloader.num_workers=0',
        'model.queue_len=32',
    ],
    'bash tools/test.sh': ['tests/test_models/test_representation.py'],
    'pip install': ['--dry-run', '--no-deps', '--no-build-isolation', '--quiet'],
    'python -m mmaccel doctor': [],
    'python tools/train.py configs/small': [*SMALL_TRAINING, 'work_dir={work}/folder'],
    'python tools/train.py my_experiment.py': ['--cfg-options', *SMALL_TRAINING],
    'python tools/train.py my_accel.py': ['--cfg-options', *SMALL_TRAINING],
    'python tools/analysis_tools/get_cost.py': SMALL_STEP,
    'python tools/analysis_tools/benchmark_step.py': [
        *SMALL_STEP,
        *['--batch-size', '2', '--iters', '1', '--warmup', '0'],
    ],
    'python tools/analysis_tools/plot_time_accuracy.py': [],
    'python tools/benchmarks/classification/probe.py': ['--num-workers', '0'],
    'python tools/model_converters/export_backbone.py': [],
}
#: Stands for the config that a reader has already.
THEIRS = """
_base_ = 'mmselfsup::selfsup/mocov2/mocov2_resnet50_8xb32-coslr-200e_in1k.py'
train_dataloader = dict(dataset=dict(data_root='{data}/imagenet'))
"""
CLASSES = ('n01', 'n02')
#: What stands in the README for something of the reader's.
PLACES = {
    'path/to/images': '{data}/photos',
    'path/to/imagenet': '{data}/imagenet',
    'path/to/labelled': '{data}/imagenet',
    'my_experiment.py': '{data}/my_experiment.py',
    'my_accel.py': '{data}/my_accel.py',
    'work_dirs/my_experiment': '{work}/mine',
    'work_dirs/my_accel': '{work}/accel',
    'work_dirs/baseline': '{work}/mocov2-1e',
    'work_dirs/accel': '{work}/best-1e',
    'curves.png': '{work}/curves.png',
    'epoch_200.pth': 'epoch_1.pth',
    'resnet18.pth': '{work}/resnet18.pth',
}


def blocks(language):
    """Code blocks of a language that no GPU is needed for."""
    pattern = rf'(<!-- gpu -->\s*)?```{language}\n(.*?)```'
    return [text for gpu, text in re.findall(pattern, TEXT, re.DOTALL) if not gpu]


COMMANDS = [line for text in blocks('bash') for line in text.strip().splitlines()]


def fill(text, data, work):
    for place, target in PLACES.items():
        text = text.replace(place, target)
    return text.format(data=data, work=work)


@pytest.fixture(scope='module')
def places(tmp_path_factory):
    """Photographs, an ImageNet in miniature, idx files and the README's own config."""
    data, work = tmp_path_factory.mktemp('data'), tmp_path_factory.mktemp('work')
    rng = np.random.default_rng(0)
    imagenet = [f'{split}/{name}' for split in ('train', 'val') for name in CLASSES]
    for folder in ('photos/holiday', *(f'imagenet/{name}' for name in imagenet)):
        (data / folder).mkdir(parents=True)
        for i in range(8):
            pixels = rng.integers(0, 255, (80, 100, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(data / folder / f'{i}.jpg')
    (data / 'imagenet' / 'meta').mkdir()
    for split in ('train', 'val'):
        lines = [f'{n}/{i}.jpg {k}\n' for k, n in enumerate(CLASSES) for i in range(8)]
        (data / 'imagenet' / 'meta' / f'{split}.txt').write_text(''.join(lines))
    write_dataset(data / 'idx')
    experiment, accelerated = blocks('python')
    (data / 'my_experiment.py').write_text(fill(experiment, data, work))
    (data / 'my_accel.py').write_text(accelerated)
    (data / 'my_mocov2.py').write_text(fill(THEIRS, data, work))
    return data, work


def test_every_command_is_known():
    assert len(COMMANDS) >= 10
    for command in COMMANDS:
        assert any(command.startswith(start) for start in EXTRA), command
    for start in EXTRA:
        assert any(command.startswith(start) for command in COMMANDS), start


@pytest.mark.parametrize('command', COMMANDS)
def test_command_runs(command, places):
    data, work = places
    extra = next(more for start, more in EXTRA.items() if command.startswith(start))
    words = [fill(word, data, work) for word in [*shlex.split(command), *extra]]
    python = str(Path(sys.executable).parent)
    env = dict(os.environ, MMACCEL_VENV='none', PYTHON=sys.executable)
    env['PATH'] = python + os.pathsep + env['PATH']
    done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, f'{done.stdout[-2000:]}\n{done.stderr[-2000:]}'


def test_results_of_the_commands_are_there(places):
    _, work = places
    assert (work / 'curves.png').stat().st_size > 0
    assert (work / 'mine' / 'last_checkpoint').exists()
    assert (work / 'folder' / 'last_checkpoint').exists()
    assert len(list((work / 'mine').glob('probe/**/result.json'))) == 3
    assert (work / 'resnet18.pth').exists()
