"""Modules that are put into evaluation mode for a while, or run as if they were."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from mmcv.cnn.utils.fuse_conv_bn import fuse_conv_bn
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .backbones import view_with


@contextmanager
def evaluation_mode(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Set modules to evaluation mode, and restore each one's mode on exit.

    ``model.train()`` on exit would also change modules that the user keeps in
    evaluation mode, such as frozen normalisation layers. Modules inside the given ones
    are left alone, unless they are given, too.
    """
    training = {module: module.training for module in modules}
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module, mode in training.items():
            module.training = mode


@contextmanager
def counted_together(module: nn.Module, once: bool = False) -> Iterator[None]:
    """Let batch norms count their batches on the host, and add all counts at once.

    Otherwise each launches a kernel for the number of batches that it has seen, which
    only a norm without ``momentum`` needs to know.

    Args:
        module (nn.Module): Has the batch norms.
        once (bool): Whether each of them sees one batch. The norms then have no counts
            meanwhile, as suits a compiled graph, where a number that changes would be
            another graph. Defaults to False.
    """
    counts = {
        norm: _Count(counted, int(once))
        for norm in module.modules()
        if isinstance(norm, _BatchNorm)
        and (counted := norm._buffers.get('num_batches_tracked')) is not None
        and norm.training
        and norm.momentum is not None
    }
    for norm, count in counts.items():
        stand_in = None if once else count
        norm._buffers['num_batches_tracked'] = stand_in  # type: ignore[assignment]
    try:
        yield
    finally:
        for norm, count in counts.items():
            norm._buffers['num_batches_tracked'] = count.tensor
        for number in {count.number for count in counts.values()} - {0}:
            torch._foreach_add_(
                [c.tensor for c in counts.values() if c.number == number], number
            )


class _Count:
    """Stands in for the tensor to which a batch norm adds 1."""

    def __init__(self, tensor: Tensor, number: int) -> None:
        self.tensor = tensor
        self.number = number

    def add_(self, number: int) -> None:
        self.number += number


def running_statistics(module: nn.Module) -> AbstractContextManager[None]:
    """Let the batch norms of a module use their running statistics meanwhile.

    Scoring candidate windows through a projector must neither update its
    statistics nor, with SyncBN, communicate.
    """
    return evaluation_mode(m for m in module.modules() if isinstance(m, _BatchNorm))


def folded_norms(module: nn.Module) -> nn.Module:
    """View of a module in evaluation mode, with batch norms folded into convolutions.

    Equal to the module in evaluation mode up to rounding, with one pass over each map
    fewer. The module is not changed: its batch norms do not update their statistics.

    Args:
        module (nn.Module): Batch norms come right after their convolution, as in
            ResNets. One that does not is left, with its running statistics.

    Returns:
        nn.Module: Of the module's weights as they are now.
    """
    view = _with_own_tensors(module)
    view.eval()  # upstream's backbones return nothing from it
    return fuse_conv_bn(view)


def _with_own_tensors(module: nn.Module) -> nn.Module:
    """View of a module, and of all in it, whose parameters can be replaced."""
    view = view_with(
        module,
        {
            name: _with_own_tensors(child)
            for name, child in module._modules.items()
            if child is not None
        },
    )
    view._parameters = dict(module._parameters)
    return view
