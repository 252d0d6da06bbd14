"""The key encoder's moving average in a few kernels."""

from typing import Any

import torch
from mmengine.model import ExponentialMovingAverage
from torch import Tensor, nn


class FusedEMA(ExponentialMovingAverage):
    """MMEngine's moving average, all parameters at once.

    Upstream launches one or two kernels per parameter and synchronises with the device
    twice per step. Results are the same bit for bit; the state dict is upstream's.

    Args:
        model (nn.Module): The model to be averaged; copied.
        momentum (float): Share of the new parameters, in (0, 1).
    """

    module: Any  # the average: a copy of the model
    steps: Tensor  # updates so far

    def __init__(self, model: nn.Module, momentum: float) -> None:
        super().__init__(model, momentum)
        self._started = False

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Move towards a model's parameters, and take its buffers as they are.

        The first time the parameters are taken as they are, too.

        Note:
            Synchronises with the device once after construction or loading.
        """
        if not self._started:
            self._started = bool(self.steps > 0)
        own: list[Tensor] = list(self.module.parameters())
        new: list[Tensor] = list(model.parameters())
        if self._started:
            torch._foreach_lerp_(own, new, self.momentum)
        else:
            copy_all(own, new)
            self._started = True
        copy_all(list(self.module.buffers()), list(model.buffers()))
        self.steps += 1

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._started = False


def copy_all(targets: list[Tensor], sources: list[Tensor]) -> None:
    """Copy tensors to tensors, in few kernels where torch can."""
    if not targets:  # the buffers of a network without batch norm
        return
    if hasattr(torch, '_foreach_copy_'):
        # lists of one type each: mixed ones are copied tensor by tensor on CUDA
        for dtype in {target.dtype for target in targets}:
            alike = [(t, s) for t, s in zip(targets, sources) if t.dtype == dtype]
            torch._foreach_copy_([t for t, _ in alike], [s for _, s in alike])
        return
    for target, source in zip(targets, sources):  # torch < 2.1
        target.copy_(source)
