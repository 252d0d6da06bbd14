"""Precision, memory layout and compilation of a step that is measured."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import nn

from mmaccel.engine.autocast_wrapper import read_precision, set_precision
from mmaccel.engine.config_reader import argument, class_of
from mmaccel.errors import ConfigError


class Numerics(NamedTuple):
    """How a step computes what it computes.

    Args:
        precision (str, optional): ``'fp32'``, ``'bf16'`` (autocast) or ``'fp16'``
            (autocast and loss scaling, CUDA only). None takes the config's.
        layout (str): ``'contiguous'``, ``'channels_last'`` or ``'config'``. Upstream's
            configs know no layout and are contiguous.
        compile_stages (bool): ``torch.compile`` of the stages.
    """

    precision: str | None = None
    layout: str = 'config'
    compile_stages: bool = False

    def resolve(self, cfg: Config, device: torch.device) -> Numerics:
        """Replace what is left to the config by what the config says.

        Raises:
            ConfigError: If the device or the model cannot do it, with the remedy.
        """
        precision, layout = self.precision, self.layout
        if precision is None:
            precision = read_precision(cfg.optim_wrapper)
        if precision == 'fp16' and device.type != 'cuda':
            raise ConfigError(
                f'fp16 needs loss scaling, which torch does on CUDA devices, not on '
                f'{device.type}; use --precision bf16'
            )
        if layout == 'config':
            last = cfg.model.get('channels_last', False)
            layout = 'channels_last' if last else 'contiguous'
        knows = _knows(cfg, 'compile_stages')
        if self.compile_stages and not knows:
            raise ConfigError(
                f'{cfg.model.type} has no option compile_stages; leave out --compile, '
                'or name a config whose model has it'
            )
        compiled = knows and cfg.model.get('compile_stages', False)
        return Numerics(precision, layout, bool(self.compile_stages or compiled))

    def model_config(self, cfg: Config) -> Any:
        """Return the model's config with a resolved layout and compilation."""
        model = copy.deepcopy(cfg.model)
        if _knows(cfg, 'channels_last'):
            model.channels_last = self.layout == 'channels_last'
        if self.compile_stages:
            model.compile_stages = model.get('compile_stages') or True
        return model

    def optimizer_config(self, cfg: Config) -> Any:
        """Return the optimizer wrapper's config with a resolved precision."""
        wrapper = copy.deepcopy(cfg.optim_wrapper)
        set_precision(wrapper, self.precision or 'fp32')
        return wrapper

    def apply(self, model: nn.Module) -> None:
        """Give a built model the layout that its config cannot express."""
        if self.layout == 'channels_last' and not hasattr(model, 'layout'):
            _use_channels_last(model)


def _knows(cfg: Config, option: str) -> bool:
    """Whether the model's class, or one it extends, takes an option."""
    return argument(class_of(cfg.model, MODELS), option) is not None


def _use_channels_last(model: nn.Module) -> None:
    """Bring an upstream model's weights and its networks' images to channels_last."""
    model.to(memory_format=torch.channels_last)

    def images_last(module: nn.Module, args: tuple) -> tuple:
        first = args[0].contiguous(memory_format=torch.channels_last)
        return (first, *args[1:])

    for module in model.modules():  # the key encoder's copy, too
        if type(module) is type(model.backbone):
            module.register_forward_pre_hook(images_last)
