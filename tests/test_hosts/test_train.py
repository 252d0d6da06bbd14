"""The command on MMPretrain's own configs, accelerated by five lines."""

import signal
from pathlib import Path

import pytest
import torch

from mmaccel import host

from ..folder_run import write_images
from ..processes import run_tool
from ..test_engine.test_resume import assert_same, trace

ROOT = Path(__file__).resolve().parents[2]

#: What docs/mmpretrain.md tells users to add.
FIVE_LINES = """
_base_ = 'mmpretrain::mocov2/mocov2_resnet50_8xb32-coslr-200e_in1k.py'
model = dict(
    type='AccelMoCo',
    neck=dict(type='IntermediateNeck', in_channels=(64, 128, 256, 512)),
    head=dict(type='AccelContrastiveHead'),
    crop_layer=dict(type='HardPairCropLayer'),
    # at the size of a test
    backbone=dict(depth=18),
    queue_len=32,
)
custom_hooks = [
    dict(type='PartialBackpropHook'),
    dict(type='TraceHook', path=TRACE, kill_at=KILL),
]
custom_imports = dict(imports=['tests.hooks'])
"""
OPTIONS = [
    'train_dataloader.batch_size=4',
    'train_dataloader.num_workers=0',
    'train_dataloader.persistent_workers=False',
    'train_dataloader.dataset.type=UnlabelledFolder',
    'train_cfg.max_epochs=2',
    'default_hooks.checkpoint.max_keep_ckpts=5',
]


@pytest.fixture
def images(tmp_path):
    if not host.MMPRETRAIN.is_installed:
        pytest.skip('mmpretrain is not installed')
    write_images(tmp_path / 'images')
    return tmp_path / 'images'


def train(folder, images, *argv, kill_at=None):
    """Exit code of a run in its own folder."""
    folder.mkdir(exist_ok=True)
    config = folder / 'five_lines.py'
    trace = folder / 'trace.json'
    text = FIVE_LINES.replace('TRACE', repr(str(trace)))
    config.write_text(text.replace('KILL', repr(kill_at)))
    options = [*OPTIONS, f'train_dataloader.dataset.data_root={images}']
    return run_tool(
        'train',
        str(config),
        '--work-dir',
        str(folder / 'out'),
        '--seed',
        '5',
        *argv,
        '--cfg-options',
        *options,
        log=folder / 'log.txt',
    )


def test_five_lines_train_are_killed_and_resume(tmp_path, images):
    whole, killed = tmp_path / 'whole', tmp_path / 'killed'
    assert train(whole, images) == 0, (whole / 'log.txt').read_text()[-2000:]
    assert train(killed, images, kill_at=8) == -signal.SIGKILL
    assert train(killed, images, '--resume') == 0

    ends = [
        torch.load(folder / 'out/epoch_2.pth', weights_only=True)
        for folder in (whole, killed)
    ]
    for key in ('state_dict', 'optimizer', 'param_schedulers'):
        assert_same(ends[0][key], ends[1][key], key)
    seen = trace(whole / 'trace.json')
    assert seen == trace(killed / 'trace.json')
    assert len({line['exit'] for line in seen.values()}) > 1


def test_the_other_host_goes_on(tmp_path, both):
    """A checkpoint of MMPretrain resumes in MMSelfSup, and the other way round."""
    write_images(tmp_path / 'images')
    options = [
        f'train_dataloader.dataset.data_root={tmp_path / "images"}',
        'train_dataloader.batch_size=8',
        'train_dataloader.num_workers=0',
        'train_dataloader.persistent_workers=False',
        'model.queue_len=16',
        'model.backbone.base_channels=8',
        'model.backbone.stem_channels=8',
        'model.neck.in_channels=(8,16,32,64)',
        'default_hooks.checkpoint.interval=1',
    ]
    for epochs, folder in enumerate(('mmpretrain/', '', 'mmpretrain/'), 1):
        config = f'configs/{folder}small/accel-mocov2_r18_folder.py'
        code = run_tool(
            'train',
            str(ROOT / config),
            '--work-dir',
            str(tmp_path / 'out'),
            *(['--resume'] if epochs > 1 else []),
            '--cfg-options',
            f'train_cfg.max_epochs={epochs}',
            *options,
            log=tmp_path / f'{epochs}.txt',
        )
        assert code == 0, (tmp_path / f'{epochs}.txt').read_text()[-2000:]
    last = torch.load(tmp_path / 'out/epoch_3.pth', weights_only=True)
    assert last['meta']['iter'] == 9
    assert last['state_dict']['encoder_k.steps'] == 9
