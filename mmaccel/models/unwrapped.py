"""The model that a wrapper of distributed training holds."""

from typing import Any

from mmengine.model import is_model_wrapper
from torch import nn


def unwrapped(model: nn.Module) -> Any:
    """Return a model without its wrapper, or as it is where it has none."""
    return model.module if is_model_wrapper(model) else model
