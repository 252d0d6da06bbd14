"""Mixed precision: the wrapper for bfloat16, and the choice of one."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn

from mmaccel.errors import ConfigError
from mmaccel.hardware import emulates_bf16

from .config_reader import type_name

_WRAPPERS = dict(
    fp32='OptimWrapper',
    fp16='AmpOptimWrapper',
    bf16='AutocastOptimWrapper',
)


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """MMEngine's wrapper with the forward pass under ``torch.autocast``.

    bfloat16 has the range of fp32: gradients do not underflow, so nothing is scaled,
    and no update synchronises with the device to look for an overflow, as MMEngine's
    ``AmpOptimWrapper`` does for fp16. Works on CPUs, too.

    Args:
        **kwargs: As upstream.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Run the forward pass in bfloat16."""
        device = next(model.parameters()).device.type
        warn_if_slow_in_bf16(device)
        with super().optim_context(model), torch.autocast(device, torch.bfloat16):
            yield


@cache
def warn_if_slow_in_bf16(device: str) -> None:
    """Log once per process that a device is slow in bfloat16, if it is known to be.

    Args:
        device (str): Type of the device, such as ``'cpu'``.
    """
    if device == 'cpu' and emulates_bf16():
        print_log(
            'this processor has no instructions for bf16, so training and evaluation '
            'in it are several times slower than in fp32; leave --amp bf16 out',
            logger='current',
            level=logging.WARNING,
        )


def read_precision(wrapper: dict) -> str:
    """Precision of an optimizer wrapper's config, as of :func:`set_precision`."""
    kind = type_name(wrapper)
    if kind == 'AmpOptimWrapper':
        return 'bf16' if str(wrapper.get('dtype')).endswith('bfloat16') else 'fp16'
    return 'bf16' if kind == 'AutocastOptimWrapper' else 'fp32'


def set_precision(wrapper: dict, precision: str) -> None:
    """Give an optimizer wrapper's config a precision.

    Args:
        wrapper (dict): ``optim_wrapper`` of a config, changed in place.
        precision (str): ``'fp32'``; ``'bf16'`` (autocast, nothing to scale); or
            ``'fp16'`` (autocast and loss scaling).

    Raises:
        ConfigError: If its type computes in fp32 in a way of its own.
    """
    kind = type_name(wrapper) or 'OptimWrapper'
    if kind not in map(type_name, _WRAPPERS.values()):
        if precision == 'fp32':
            return
        raise ConfigError(
            f'{precision} does not work with optim_wrapper.type={kind}; set it to '
            'OptimWrapper'
        )
    wrapper.pop('dtype', None)  # autocast's own choice on CUDA is fp16
    if precision == 'fp16':
        wrapper.setdefault('loss_scale', 'dynamic')
    else:
        wrapper.pop('loss_scale', None)
        wrapper.pop('use_fsdp', None)
    wrapper['type'] = _WRAPPERS[precision]
