"""A small pretraining run on generated grey images, for tests of hooks and tools."""

import itertools
import json
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.runner import Runner

from tests.builders import BACKBONE, moco_config

FILES = {
    'train': ('train-images-idx3-ubyte', 'train-labels-idx1-ubyte'),
    'test': ('t10k-images-idx3-ubyte', 't10k-labels-idx1-ubyte'),
}

_runs = itertools.count()


def idx_images(num, num_classes=4, seed=0):
    """Noisy stripes whose direction and phase tell the class."""
    rng = np.random.default_rng(seed)
    labels = np.arange(num) % num_classes
    y, x = np.mgrid[:28, :28] / 28
    angle = (labels * np.pi / num_classes)[:, None, None]
    stripes = np.sin(18 * (np.cos(angle) * x + np.sin(angle) * y))
    images = 128 + 70 * stripes + rng.normal(0, 25, (num, 28, 28))
    return images.clip(0, 255).astype(np.uint8), labels.astype(np.uint8)


def write_idx(array, path):
    """The idx format: two zero bytes, type, rank, sizes as big-endian, values."""
    header = bytes([0, 0, 8, array.ndim]) + b''.join(
        int(size).to_bytes(4, 'big') for size in array.shape
    )
    Path(path).write_bytes(header + array.tobytes())


def write_dataset(folder, num_train=64, num_test=32):
    """Four idx files under the names Fashion-MNIST has."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (split, num) in enumerate((('train', num_train), ('test', num_test))):
        for array, name in zip(idx_images(num, seed=seed), FILES[split]):
            write_idx(array, folder / name)
    return folder


def labelled(data, test_mode, **loader):
    """A dataloader config as KNNHook takes it."""
    pipeline = [dict(type='PackSelfSupInputs', algorithm_keys=['gt_label'])]
    dataset = dict(
        type='mmcls.FashionMNIST',
        data_prefix=str(data),
        test_mode=test_mode,
        download=False,
        serialize_data=False,
        pipeline=pipeline,
    )
    return dict(dataset=dataset, **loader)


def run_config(
    data, work_dir, epochs=2, accel=False, knn=None, checkpoint=False, **overrides
):
    """Runner config: MoCo on 28 px grey images, 4 iterations of 16 an epoch."""
    views = [
        dict(type='RandomResizedCrop', size=28, scale=(0.3, 1.0), backend='pillow'),
        dict(type='RandomFlip', prob=0.5),
    ]
    train = labelled(data, False)['dataset']
    train['pipeline'] = [
        dict(type='MultiView', num_views=2, transforms=[views]),
        dict(type='PackSelfSupInputs'),
    ]
    hooks = dict(
        throughput=dict(type='ThroughputHook'),
        logger=dict(type='LoggerHook', interval=2),
        checkpoint=dict(type='CheckpointHook', interval=1 if checkpoint else -1),
    )
    if knn is not None:
        hooks['knn'] = dict(type='KNNHook', **knn)
    cfg = dict(
        default_scope='mmselfsup',
        model=moco_config(accel, backbone=dict(BACKBONE, in_channels=1)),
        train_dataloader=dict(
            batch_size=16,
            num_workers=0,
            drop_last=True,
            sampler=dict(type='DefaultSampler', shuffle=True),
            collate_fn=dict(type='default_collate'),
            dataset=train,
        ),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.05, momentum=0.9)),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        default_hooks=hooks,
        custom_hooks=[dict(type='PartialBackpropHook')] if accel else [],
        log_processor=dict(type='AccelLogProcessor', window_size=2),
        visualizer=dict(
            type='SelfSupVisualizer', vis_backends=[dict(type='LocalVisBackend')]
        ),
        randomness=dict(seed=0),
        work_dir=str(work_dir),
        experiment_name=f'small{next(_runs)}',  # loggers are kept by this name
    )
    cfg['model']['data_preprocessor'] = dict(mean=(128.0,), std=(60.0,))
    cfg.update(overrides)
    return Config(cfg)


def train(cfg):
    """Run a config to its end."""
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


def records(work_dir):
    """All scalar records of all runs in a work directory, in order of time."""
    files = sorted(Path(work_dir).glob('*/vis_data/scalars.json'))
    return [
        json.loads(line)
        for file in files
        for line in file.read_text().split('\n')
        if line
    ]
