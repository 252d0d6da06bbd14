"""Small models of either host, accelerated or its own."""

import copy

from mmengine.registry import MODELS

from mmaccel import host
from mmaccel.models.plan import StepPlan

CHANNELS = (8, 16, 32, 64)
METHODS = ('MoCo', 'SimCLR', 'SwAV')
PROJECTORS = dict(MoCo='MoCoV2Neck', SimCLR='NonLinearNeck', SwAV='SwAVNeck')


def model_config(package, method, accel):
    """Config as a user of one host would write it."""
    pretrain = package is host.MMPRETRAIN
    loss = 'CrossEntropyLoss' if pretrain else 'mmcls.CrossEntropyLoss'
    neck = dict(hid_channels=24, out_channels=16)
    if method == 'SwAV':
        neck.update(norm_cfg=dict(type='BN1d'))
        loss = dict(
            type='AccelSwAVLoss' if accel else 'SwAVLoss',
            feat_dim=16,
            num_prototypes=20,
        )
        head = dict(type='AccelSwAVHead' if accel else 'SwAVHead', loss=loss)
    else:
        kind = 'AccelContrastiveHead' if accel else 'ContrastiveHead'
        head = dict(type=kind, loss=dict(type=loss), temperature=0.2)
    if method == 'SimCLR':
        neck.update(norm_cfg=dict(type='BN1d'), num_layers=2)
    if accel:
        neck.update(
            type='IntermediateNeck', projector=PROJECTORS[method], in_channels=CHANNELS
        )
    else:
        neck.update(type=PROJECTORS[method], in_channels=CHANNELS[-1])
    config = dict(
        type=f'Accel{method}' if accel else method,
        backbone=dict(
            type='ResNet',
            depth=18,
            base_channels=8,
            stem_channels=8,
            out_indices=(3,) if pretrain else [4],
            norm_cfg=dict(type='BN'),
        ),
        neck=neck,
        head=head,
    )
    if method == 'MoCo':
        momentum = 0.01 if pretrain else 0.99
        config.update(queue_len=32, feat_dim=16, momentum=momentum)
    return config


def build(package, config):
    """Build in the scope of a host, in training mode."""
    with host.scope(dict(default_scope=package.name)):
        model = MODELS.build(copy.deepcopy(config))
        model.init_weights()
    return model.train()


def twins(package, method):
    """An accelerated model at its last exit, and the host's own with its weights."""
    accel = build(package, model_config(package, method, accel=True))
    upstream = build(package, model_config(package, method, accel=False))
    upstream.backbone.load_state_dict(accel.backbone.state_dict())
    upstream.neck.load_state_dict(accel.neck.projectors[-1].state_dict())
    if method == 'MoCo':
        encoder, average = upstream.encoder_k, accel.encoder_k
        encoder.module[0].load_state_dict(average.module[0].state_dict())
        projector = average.module[1].projectors[-1]
        encoder.module[1].load_state_dict(projector.state_dict())
        upstream.queue.copy_(accel.queues[-1].features)
    if method == 'SwAV':
        loss = getattr(upstream.head, 'loss_module', None) or upstream.head.loss
        loss.load_state_dict(accel.head.losses[-1].state_dict())
    accel.plan = StepPlan(exit_stage=4)
    return accel, upstream
