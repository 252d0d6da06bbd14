"""Transfers from a checkpoint whose backbone knows the objects."""

from __future__ import annotations

import copy
import functools
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.registry import MODELS
from torch import nn

from mmaccel import host
from mmaccel.engine.config import prepare_config, set_work_dir
from mmaccel.engine.runner import build_runner
from mmaccel.engine.weights import set_pretrained
from tests import voc_set

MEAN = np.array([123.675, 116.28, 103.53], dtype=np.float32)
STD = np.array([58.395, 57.12, 57.375], dtype=np.float32)
EDGE = 48


def make_checkpoint(
    path: Path | str,
    seed: int = 0,
    steps: int = 80,
    batch: int = 16,
    base_channels: int = 64,
) -> Path:
    """Train a ResNet-18 for some seconds to tell the objects from each other and from
    photographs, and save it with a neck, as a pretraining does.

    The tests judge what a transfer does with good weights, not how they came about.
    """
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    width = dict(base_channels=base_channels, stem_channels=base_channels)
    backbone = host.find(MODELS, f'{host.installed()[0].labels}.ResNet')(18, **width)
    head = nn.Linear(8 * base_channels, len(voc_set.CLASSES) + 1)
    both = nn.Sequential(backbone, head)
    optimizer = torch.optim.AdamW(both.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=steps)
    both.train()
    for _ in range(steps):
        x, labels = draw_batch(rng, batch)
        logits = head(backbone(x)[-1].mean((2, 3)))
        loss = nn.functional.cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    state = {f'backbone.{name}': x for name, x in backbone.state_dict().items()}
    state['neck.fc.weight'] = torch.zeros(8, 8 * base_channels)
    meta = dict(epoch=1, iter=steps, seed=seed, experiment_name='transfer')
    torch.save(dict(meta=meta, state_dict=state), path)
    return Path(path)


def draw_batch(
    rng: np.random.Generator, batch: int, edge: int = EDGE
) -> tuple[torch.Tensor, torch.Tensor]:
    """``(B, 3, E, E)`` normalised crops, and what is in their middle, 0 for nothing."""
    images = np.empty((batch, edge, edge, 3), dtype=np.float32)
    labels = rng.integers(0, len(voc_set.CLASSES) + 1, batch)
    for image, label in zip(images, labels):
        canvas = voc_set.background(rng, edge)
        if label > 0:
            extent = int(rng.uniform(0.6, 0.95) * edge)
            patch, mask = voc_set.draw_object(rng, int(label) - 1, extent)
            x, y = rng.integers(0, edge - extent + 1, 2)
            canvas[y : y + extent, x : x + extent][mask] = patch[mask]
        image[...] = (canvas - MEAN) / STD
    return torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(labels)


def shuffle_weights(path_in: Path | str, path_out: Path | str, seed: int = 0) -> Path:
    """Permute the elements within each tensor of the backbone: same shapes, same
    values, nothing learnt."""
    draw = torch.Generator().manual_seed(seed)
    checkpoint = torch.load(path_in, weights_only=True)
    for name, x in checkpoint['state_dict'].items():
        if name.startswith('backbone.') and x.ndim > 0:
            order = torch.randperm(x.numel(), generator=draw)
            checkpoint['state_dict'][name] = x.flatten()[order].view_as(x)
    torch.save(checkpoint, path_out)
    return Path(path_out)


def prepared(cfg, checkpoint, work_dir):
    """A config as ``tools/train.py --pretrained`` runs it."""
    # mmengine shares loggers and visualizers of one name in a process
    cfg.experiment_name = cfg.visualizer.name = str(work_dir)
    set_work_dir(cfg, str(work_dir))
    set_pretrained(cfg, str(checkpoint))
    return prepare_config(cfg)


class Watch(Hook):
    """Keep the weights before the first step, the losses, and what is predicted."""

    def __init__(self):
        self.before, self.losses, self.predictions = None, [], []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == 0:
            self.before = copy.deepcopy(runner.model.state_dict())

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append(outputs['loss'].item())

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.predictions += outputs


def trained_once(reduced, checkpoint, tmp_path_factory):
    """A function that trains a config the first time it is asked for.

    ``reduced`` makes the config of a name, a checkpoint and a work directory.
    """

    @functools.cache
    def run(name, shuffled=False):
        weights, work_dir = checkpoint, tmp_path_factory.mktemp('run')
        if shuffled:
            weights = shuffle_weights(checkpoint, checkpoint.with_name('shuffled.pth'))
        runner, watch = build_runner(reduced(name, weights, work_dir)), Watch()
        runner.register_hook(watch, priority='LOWEST')
        runner.train()
        lines = (work_dir / 'vis_data/scalars.json').read_text().splitlines()
        return SimpleNamespace(
            work_dir=work_dir,
            model=runner.model,
            before=watch.before,
            after=runner.model.state_dict(),
            losses=watch.losses,
            predictions=watch.predictions,
            metrics=json.loads(lines[-1]),
            record=json.loads((work_dir / 'result.json').read_text()),
        )

    return run
