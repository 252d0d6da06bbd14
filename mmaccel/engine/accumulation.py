"""Gradients that wait for their update when a checkpoint is saved."""

from __future__ import annotations

import torch
from mmengine.dist import all_reduce
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from torch import Tensor, nn


def pending_gradients(runner) -> dict[str, Tensor]:
    """Gradients accumulated so far, by parameter, averaged over ranks.

    mmengine's checkpoints leave them out, so that a run resumed between two updates
    would lose the iterations before. Averaging changes no update: it is what the next
    synchronisation would do.

    Note:
        Every rank must call it: the ranks talk when there is something to save.
    """
    optim = runner.optim_wrapper
    if not isinstance(optim, OptimWrapper) or optim._accumulative_counts == 1:
        return {}
    gradients = {
        name: parameter.grad.detach().clone()
        for name, parameter in _bare(runner.model).named_parameters()
        if parameter.grad is not None
    }
    for gradient in gradients.values():
        all_reduce(gradient, op='mean')
    return {name: gradient.cpu() for name, gradient in gradients.items()}


def restore_gradients(runner, gradients: dict[str, Tensor]) -> None:
    """Put saved gradients back where the next update finds them."""
    for name, parameter in _bare(runner.model).named_parameters():
        if name in gradients:
            with torch.no_grad():
                parameter.grad = gradients[name].to(parameter.device)


def _bare(model: nn.Module) -> nn.Module:
    return model.module if is_model_wrapper(model) else model
