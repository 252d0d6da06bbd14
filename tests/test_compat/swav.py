"""Small SwAV runs, and upstream's own code as it was before the patches."""

import importlib.util
import itertools
import sys

import torch
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmaccel.host import MMSELFSUP
from tests.builders import BACKBONE

_runs = itertools.count()


def upstream_sinkhorn():
    """Upstream's function, from a fresh copy of its module."""
    path = sys.modules['mmselfsup.utils.distributed_sinkhorn'].__file__
    spec = importlib.util.spec_from_file_location('unpatched_sinkhorn', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.distributed_sinkhorn


class Views(torch.utils.data.Dataset):
    """Two views of eight images, always the same."""

    def __len__(self):
        return 8

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        views = torch.randn(2, 3, 32, 32, generator=generator)
        return dict(inputs=list(views), data_samples=index)


def upstream_hook():
    """MMSelfSup's ``SwAVHook`` as it was before the patch."""
    return MMSELFSUP.module(MMSELFSUP.swav_hook).SwAVHook.__mro__[2]


def swav_runner(
    work_dir, epochs, hook='SwAVHook', by_epoch=True, package=MMSELFSUP, **overrides
):
    """A runner that trains SwAV for ``epochs`` of two iterations, saving each."""
    return Runner(
        model=dict(
            type='SwAV',
            backbone=dict(
                BACKBONE,
                type='ResNet',
                out_indices=[4] if package is MMSELFSUP else (3,),
            ),
            neck=dict(
                type='SwAVNeck',
                in_channels=64,
                hid_channels=16,
                out_channels=8,
                with_avg_pool=True,
                norm_cfg=dict(type='BN1d'),
            ),
            head=dict(
                type='SwAVHead',
                loss=dict(type='SwAVLoss', feat_dim=8, num_prototypes=12),
            ),
        ),
        work_dir=str(work_dir),
        train_dataloader=DataLoader(Views(), batch_size=4),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9)),
        custom_hooks=[
            dict(
                type=hook,
                batch_size=4,
                epoch_queue_starts=0,
                feat_dim=8,
                queue_length=12,
            )
        ],
        default_hooks=dict(
            checkpoint=dict(type='CheckpointHook', interval=1, by_epoch=by_epoch)
        ),
        default_scope=package.name,
        randomness=dict(seed=0),
        log_level='ERROR',
        experiment_name=f'swav{next(_runs)}',
        **overrides,
    )


def queue_of(runner):
    """The queue that the loss is using."""
    head = runner.model.head
    return (getattr(head, 'loss_module', None) or head.loss).queue
