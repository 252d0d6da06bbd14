"""Stages compiled each on its own, with room for the shapes that schedules bring."""

import types
from collections.abc import Callable

import torch
from torch import Tensor

from .stages import Stage

#: Modes of ``torch.compile``; any other name is a backend's. The first two record CUDA
#: graphs, one per stage and shape.
MODES = ('reduce-overhead', 'max-autotune', 'max-autotune-no-cudagraphs')

#: Graphs of one stage: sizes of views and windows, with a gradient and without.
LIMIT = 32


def compiled_stage(stage: Stage, name: str, backend: bool | str | Callable) -> Stage:
    """Compile a stage into graphs of its own.

    Torch counts graphs by function, and stops compiling after eight: four stages of
    two networks, which share theirs, would be all. Here each stage has a function of
    its own, and up to :data:`LIMIT` graphs. Beyond that torch warns, and runs it as it
    is.

    Args:
        stage (Callable): From :func:`split_stages`.
        name (str): Of the function, in torch's messages.
        backend (bool, str or Callable): True for torch's default, one of :data:`MODES`,
            or a backend as of ``torch.compile``.

    Note:
        Raises torch's limits of graphs for the whole process.
    """

    def run(x: Tensor) -> Tensor:
        return stage(x)

    code = run.__code__.replace(co_name=name)
    own = types.FunctionType(code, run.__globals__, name, None, run.__closure__)
    _raise_limits()
    how: dict = {} if backend is True else dict(backend=backend)
    if backend in MODES:
        how = dict(mode=backend)
    return torch.compile(own, dynamic=False, **how)


def begin_step() -> None:
    """Tell recorded CUDA graphs that what the last step gave is no longer needed.

    Note:
        Without it a graph that runs again could be taken for a part of the last step,
        whose maps it must not overwrite.
    """
    torch.compiler.cudagraph_mark_step_begin()


def _raise_limits() -> None:
    config = torch._dynamo.config
    for limit in ('recompile_limit', 'cache_size_limit'):  # since and before torch 2.6
        if hasattr(config, limit):
            setattr(config, limit, max(LIMIT, getattr(config, limit)))
