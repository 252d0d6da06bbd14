"""Mixed precision in bfloat16."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from mmselfsup.registry import OPTIM_WRAPPERS
from torch import nn


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
        device = torch.device(get_device()).type
        with super().optim_context(model), torch.autocast(device, torch.bfloat16):
            yield
