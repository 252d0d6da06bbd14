"""Small models and inputs for tests: ResNet-18 with an eighth of the channels."""

import copy

import torch
from mmselfsup.registry import MODELS

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


def build(config):
    """Build a model from a config and leave the config as it was."""
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
