"""Small models and inputs for tests: ResNet-18 with an eighth of the channels."""

import copy

import numpy as np
import torch
from mmengine.registry import MODELS, DefaultScope
from PIL import Image

CHANNELS = (8, 16, 32, 64)
BACKBONE = dict(
    type='mmselfsup.ResNet',
    depth=18,
    base_channels=8,
    stem_channels=8,
    out_indices=[4],
    norm_cfg=dict(type='BN'),
)
CROP = dict(type='HardPairCropLayer', after_stages=(1, 2))


def moco_config(accel=True, backbone=None, channels=CHANNELS, **overrides):
    """Config of a small MoCo v2, accelerated or upstream's."""
    config = dict(
        type='AccelMoCo' if accel else 'mmselfsup.MoCo',
        queue_len=32,
        feat_dim=16,
        momentum=0.99,
        backbone=copy.deepcopy(backbone or BACKBONE),
        neck=dict(hid_channels=24, out_channels=16, with_avg_pool=True),
        head=dict(loss=dict(type='mmcls.CrossEntropyLoss'), temperature=0.2),
    )
    if accel:
        config['neck'].update(type='IntermediateNeck', in_channels=channels)
        config['head'].update(type='AccelContrastiveHead')
    else:
        config['neck'].update(type='mmselfsup.MoCoV2Neck', in_channels=channels[-1])
        config['head'].update(type='mmselfsup.ContrastiveHead')
    config.update(overrides)
    return config


def simclr_config(accel=True, **overrides):
    config = dict(
        type='AccelSimCLR' if accel else 'mmselfsup.SimCLR',
        backbone=copy.deepcopy(BACKBONE),
        neck=dict(
            type='mmselfsup.NonLinearNeck',
            in_channels=CHANNELS[-1],
            hid_channels=24,
            out_channels=16,
            num_layers=2,
            norm_cfg=dict(type='BN1d'),
        ),
        head=dict(
            type='mmselfsup.ContrastiveHead',
            loss=dict(type='mmcls.CrossEntropyLoss'),
            temperature=0.1,
        ),
    )
    if accel:
        config['neck'].update(
            type='IntermediateNeck', projector='NonLinearNeck', in_channels=CHANNELS
        )
        config['head'].update(type='AccelContrastiveHead')
    config.update(overrides)
    return config


def swav_config(num_crops, accel=True, **overrides):
    loss = dict(
        type='AccelSwAVLoss' if accel else 'mmselfsup.SwAVLoss',
        feat_dim=16,
        num_crops=num_crops,
        num_prototypes=20,
    )
    config = dict(
        type='AccelSwAV' if accel else 'mmselfsup.SwAV',
        backbone=copy.deepcopy(BACKBONE),
        neck=dict(
            type='mmselfsup.SwAVNeck',
            in_channels=CHANNELS[-1],
            hid_channels=24,
            out_channels=16,
            norm_cfg=dict(type='BN1d'),
        ),
        head=dict(type='AccelSwAVHead' if accel else 'mmselfsup.SwAVHead', loss=loss),
    )
    if accel:
        config['neck'].update(
            type='IntermediateNeck', projector='SwAVNeck', in_channels=CHANNELS
        )
    config.update(overrides)
    return config


def build(config):
    """Build a model from a config and leave the config as it was."""
    with DefaultScope.overwrite_default_scope('mmselfsup'):  # for fixtures of modules
        model = MODELS.build(copy.deepcopy(config))
    model.init_weights()
    return model.train()


def views(batch=4, size=64, channels=3, count=2, seed=0):
    """Random images, the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(batch, channels, size, size, generator=generator)
        for _ in range(count)
    ]


def multi_views(num_crops, batch=4, seed=0):
    sizes = [64] * num_crops[0] + [32] * sum(num_crops[1:])
    return [
        views(batch=batch, size=size, count=1, seed=100 * seed + i)[0]
        for i, size in enumerate(sizes)
    ]


def photograph(width=300, height=200, seed=0):
    """Smooth areas, edges and noise: (height, width, 3), uint8."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    image = np.asarray(coarse.resize((width, height), Image.BICUBIC)).astype(float)
    image[height // 3 : height // 2, width // 4 :] = rng.integers(0, 256, 3)
    image += rng.normal(0, 5, image.shape)
    return image.clip(0, 255).astype(np.uint8)
