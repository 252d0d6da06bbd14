"""A config in MMEngine's new style: read_base, and classes as types."""

from tests.folder_run import write_images
from tests.processes import run_tool

BASE = """\
from mmengine.hooks import CheckpointHook, LoggerHook
from mmengine.optim import CosineAnnealingLR, OptimWrapper
from mmengine.runner import EpochBasedTrainLoop
from mmengine.visualization import LocalVisBackend
from mmselfsup.visualization import SelfSupVisualizer
from torch.optim import SGD

default_scope = 'mmselfsup'
train_cfg = dict(type=EpochBasedTrainLoop, max_epochs=2)
optim_wrapper = dict(type=OptimWrapper, optimizer=dict(type=SGD, lr=0.05))
param_scheduler = [dict(type=CosineAnnealingLR, T_max=2, by_epoch=True)]
default_hooks = dict(
    logger=dict(type=LoggerHook, interval=1),
    checkpoint=dict(type=CheckpointHook, interval=1),
)
visualizer = dict(
    type=SelfSupVisualizer, vis_backends=[dict(type=LocalVisBackend)]
)
"""
CHILD = """\
from mmengine.config import read_base

with read_base():
    from .base import *

from mmcls.models import CrossEntropyLoss
from mmcv.transforms import LoadImageFromFile
from mmengine.dataset import DefaultSampler, default_collate
from mmselfsup.datasets.transforms import MultiView, PackSelfSupInputs
from mmselfsup.datasets.transforms import RandomResizedCrop
from mmselfsup.models import ResNet, SelfSupDataPreprocessor

from mmaccel.datasets import UnlabelledFolder
from mmaccel.engine import PartialBackpropHook, StagewiseDataParallel
from mmaccel.models import AccelContrastiveHead, AccelMoCo, HardPairCropLayer
from mmaccel.models import IntermediateNeck

model = dict(
    type=AccelMoCo,
    queue_len=32,
    feat_dim=16,
    momentum=0.99,
    data_preprocessor=dict(
        type=SelfSupDataPreprocessor, mean=(124.0,) * 3, std=(58.0,) * 3
    ),
    backbone=dict(
        type=ResNet,
        depth=18,
        base_channels=8,
        stem_channels=8,
        out_indices=[4],
        norm_cfg=dict(type='SyncBN'),
    ),
    neck=dict(
        type=IntermediateNeck,
        in_channels=(8, 16, 32, 64),
        hid_channels=24,
        out_channels=16,
    ),
    head=dict(
        type=AccelContrastiveHead,
        loss=dict(type=CrossEntropyLoss),
        temperature=0.2,
    ),
    crop_layer=dict(type=HardPairCropLayer),
)
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    drop_last=True,
    sampler=dict(type=DefaultSampler, shuffle=True),
    collate_fn=dict(type=default_collate),
    dataset=dict(
        type=UnlabelledFolder,
        data_root='{images}',
        pipeline=[
            dict(type=LoadImageFromFile),
            dict(
                type=MultiView,
                num_views=2,
                transforms=[[dict(type=RandomResizedCrop, size=32)]],
            ),
            dict(type=PackSelfSupInputs, meta_keys=['img_path']),
        ],
    ),
)
custom_hooks = [dict(type=PartialBackpropHook)]
model_wrapper_cfg = dict(type=StagewiseDataParallel)
"""


def write(tmp_path):
    write_images(tmp_path / 'images', 8)
    (tmp_path / 'base.py').write_text(BASE)
    path = tmp_path / 'child.py'
    path.write_text(CHILD.replace('{images}', str(tmp_path / 'images')))
    return path


def test_it_trains_on_two_ranks_and_resumes(tmp_path):
    config, log = write(tmp_path), tmp_path / 'log'
    argv = [config, '--work-dir', tmp_path / 'out']
    assert run_tool('train', *map(str, argv), log=log, ranks=2) == 0, log.read_text()
    (tmp_path / 'out' / 'epoch_2.pth').unlink()
    assert run_tool('train', *map(str, argv), '--resume', log=log) == 0
    assert 'resumed epoch: 1' in log.read_text()


def test_its_settings_are_checked(tmp_path):
    config, log = write(tmp_path), tmp_path / 'log'
    options = ['--cfg-options', 'model.temperature=1']
    assert run_tool('train', str(config), *options, log=log) == 1
    assert 'error: model.temperature is unknown to AccelMoCo' in log.read_text()
    options = ['--cfg-options', 'model.head.temperature=-1']
    assert run_tool('train', str(config), *options, log=log) == 1
    assert 'error: model.head.temperature=-1' in log.read_text()


def test_its_steps_are_counted(tmp_path):
    log = tmp_path / 'log'
    assert run_tool('cost', str(write(tmp_path)), log=log) == 0
    assert 'expected' in log.read_text()
