"""Model, images and picked windows of a checkpoint, for their pictures."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, default_collate
from mmengine.device import get_device
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, TRANSFORMS

from mmaccel import host
from mmaccel.datasets import UnlabelledFolder
from mmaccel.engine import config_reader
from mmaccel.engine.checkpoint_reader import read_checkpoint
from mmaccel.engine.weights import load_whole
from mmaccel.errors import ConfigError
from mmaccel.models.layers import HardPairCropLayer

from .picked_windows import StageWindows, pick_windows


def load_model(cfg: Config, checkpoint: str) -> Any:
    """Build the config's model with the checkpoint's weights, all of them."""
    kind = host.find(MODELS, cfg.model.type)
    if kind is None or not hasattr(kind, 'crop_after'):
        raise ConfigError(
            f'{cfg.filename} has no Accel model but model.type={cfg.model.type}, which '
            'picks no windows; give the config of AccelMoCo, AccelSimCLR or AccelSwAV'
        )
    model = MODELS.build(cfg.model)
    if not isinstance(model.crop_layer, HardPairCropLayer):
        raise ConfigError(
            f'the model of {cfg.filename} cuts no windows; give a config whose '
            "model.crop_layer.type is 'HardPairCropLayer'"
        )
    load_whole(model, checkpoint)
    _restore_queue(model, read_checkpoint(checkpoint).get('swav_queue'))
    return revert_sync_batchnorm(model).to(get_device())


def _restore_queue(model: Any, queue: torch.Tensor | None) -> None:
    """Give SwAV's losses the queues that its hook keeps in the checkpoint."""
    if queue is not None:
        for loss, own in zip(model.head.losses, queue):
            loss.queue = own.clone().to(get_device())
            loss.use_queue = bool((own[:, -1] != 0).any())  # once it is full


def find_images(folder: str | None, number: int) -> list[str]:
    """Paths of the first images of a folder, or of the sample photographs."""
    if folder is None:
        from sklearn.datasets import load_sample_images

        return sorted(load_sample_images().filenames)[:number]
    try:
        dataset = UnlabelledFolder(data_root=folder)
    except ConfigError as error:
        problem = str(error).partition(';')[0]
        raise ConfigError(f'{problem}; give --images a folder of images') from error
    if len(dataset) < 2:
        raise ConfigError(f'{folder} has one image, with no other; give at least 2')
    count = min(number, len(dataset))
    return [dataset.get_data_info(i)['img_path'] for i in range(count)]


def make_views(cfg: Config, paths: Sequence[str]) -> dict:
    """Send images through the config's own pipeline, as a batch."""
    transforms = config_reader.pipeline(config_reader.training_set(cfg))
    if not any('Load' in config_reader.type_name(t) for t in transforms):
        transforms.insert(0, config_reader.image_loader(cfg))  # a set not of files
    pipeline = Compose([TRANSFORMS.build(transform) for transform in transforms])
    return default_collate([pipeline(dict(img_path=path)) for path in paths])


def batches_of(number: int, queue_len: int | None) -> list[range]:
    """Batches of one size that a queue takes; the last may repeat some images."""
    size = number
    while queue_len is not None and queue_len % size:
        size -= 1
    starts = [min(start, number - size) for start in range(0, number, size)]
    return [range(start, start + size) for start in starts]


def pick(model: Any, batch: dict, seed: int) -> list[list[StageWindows]]:
    """Windows of all images, every batch by the checkpoint's own state."""
    inputs, _ = host.prepared(model.data_preprocessor, batch, True)
    state = {name: x.clone() for name, x in model.state_dict().items()}
    picked: list[list[StageWindows]] = []
    for images in batches_of(len(inputs[0]), getattr(model, 'queue_len', None)):
        model.load_state_dict(state)
        part = [view[images.start : images.stop] for view in inputs]
        found = pick_windows(model, part, seed + images.start)
        picked += found[len(picked) - images.start :]
    return picked


def as_pictures(batch: dict, number: int) -> list[list[np.ndarray]]:
    """Views of each image as they are seen, RGB or grey."""
    images = []
    for n in range(number):
        views = [view[n].permute(1, 2, 0).numpy() for view in batch['inputs']]
        images.append([v[..., ::-1] if v.shape[-1] == 3 else v[..., 0] for v in views])
    return images
