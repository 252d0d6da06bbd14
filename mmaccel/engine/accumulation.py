"""Accumulated gradients, saved with a checkpoint and restored from it."""

import torch
from mmengine.dist import all_reduce
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import Tensor

from mmaccel.models.unwrapped import unwrapped


def pending_gradients(runner: Runner) -> dict[str, Tensor]:
    """Gradients accumulated so far, by parameter, averaged over ranks.

    mmengine's checkpoints leave them out, so that a run resumed between two updates
    would lose the iterations before. Averaging changes no update: it is what the next
    synchronisation would do.

    Note:
        One all-reduce per gradient; every rank must call it.
    """
    optim = runner.optim_wrapper
    if not isinstance(optim, OptimWrapper) or optim._accumulative_counts == 1:
        return {}
    gradients = {
        name: parameter.grad.detach().clone()
        for name, parameter in unwrapped(runner.model).named_parameters()
        if parameter.grad is not None
    }
    for gradient in gradients.values():
        all_reduce(gradient, op='mean')
    return {name: gradient.cpu() for name, gradient in gradients.items()}


def restore_gradients(runner: Runner, gradients: dict[str, Tensor]) -> None:
    """Put saved gradients back where the next update finds them."""
    for name, parameter in unwrapped(runner.model).named_parameters():
        if name in gradients:
            with torch.no_grad():
                parameter.grad = gradients[name].to(parameter.device)
