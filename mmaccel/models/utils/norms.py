"""Modules that are put into evaluation mode for a while."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


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


def running_statistics(module: nn.Module) -> AbstractContextManager[None]:
    """Let the batch norms of a module use their running statistics meanwhile.

    Scoring candidate windows through a projector must neither update its
    statistics nor, with SyncBN, communicate.
    """
    return evaluation_mode(m for m in module.modules() if isinstance(m, _BatchNorm))
