"""What measurements of a finished pretraining start from: its model, its images."""

from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.device import get_device
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DATASETS, MODELS, init_default_scope

from mmaccel import host
from mmaccel.engine.preflight import check_data
from mmaccel.engine.weights import load_whole
from mmaccel.errors import ConfigError


def trained_model(cfg: Config, checkpoint: str) -> Any:
    """Build a contrastive pretraining's model with a checkpoint's weights.

    Args:
        cfg (Config): The config that it was trained by.
        checkpoint (str): All weights of its model.

    Raises:
        ConfigError: If it is no contrastive pretraining, or the checkpoint another's.
    """
    init_default_scope(host.default_scope(cfg))
    model: Any = MODELS.build(cfg.model)
    if not (hasattr(model, 'neck') and hasattr(model, 'backbone')):
        raise ConfigError(
            f'{cfg.filename} has no model with backbone and neck; give the config of a '
            'contrastive pretraining'
        )
    load_whole(model, checkpoint)
    return revert_sync_batchnorm(model).to(get_device())


def training_set(cfg: Config) -> Any:
    """Build the images that a config trains on.

    Raises:
        ConfigError: If there are none.
    """
    check_data(cfg, 'train_dataloader')
    return DATASETS.build(ConfigDict(cfg.train_dataloader.dataset))
