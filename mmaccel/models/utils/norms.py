"""Normalisation layers that stay as they are while something is scored."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def running_statistics(module: nn.Module) -> Iterator[None]:
    """Let the batch norms of a module use their running statistics meanwhile.

    Scoring candidate windows through a projector must neither update its
    statistics nor, with SyncBN, communicate.

    Note:
        The modules' modes are as before when the block ends. No buffer changes.
    """
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.training]
    for norm in norms:
        norm.training = False
    try:
        yield
    finally:
        for norm in norms:
            norm.training = True
