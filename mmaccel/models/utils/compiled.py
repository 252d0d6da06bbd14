"""Stages compiled each on its own, with room for the shapes that schedules bring."""

import types
from collections.abc import Callable

import torch
from torch import Tensor

from .stages import Stage

#: Graphs of one stage: sizes of views and windows, with a gradient and without.
LIMIT = 32


def compiled_stage(stage: Stage, name: str, backend: str | Callable) -> Stage:
    """Compile a stage into graphs of its own.

    Torch counts graphs by function, and stops compiling after eight: four stages of
    two networks, which share theirs, would be all. Here each stage has a function of
    its own, and up to :data:`LIMIT` graphs. Beyond that torch warns, and runs it as it
    is.

    Args:
        stage (Callable): From :func:`split_stages`.
        name (str): Of the function, in torch's messages.
        backend (str or Callable): As of ``torch.compile``.

    Note:
        Raises torch's limits of graphs for the whole process.
    """

    def run(x: Tensor) -> Tensor:
        return stage(x)

    code = run.__code__.replace(co_name=name)
    own = types.FunctionType(code, run.__globals__, name, None, run.__closure__)
    _raise_limits()
    return torch.compile(own, dynamic=False, backend=backend)


def _raise_limits() -> None:
    config = torch._dynamo.config
    for limit in ('recompile_limit', 'cache_size_limit'):  # since and before torch 2.6
        if hasattr(config, limit):
            setattr(config, limit, max(LIMIT, getattr(config, limit)))
