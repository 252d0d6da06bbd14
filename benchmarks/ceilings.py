"""What a CPU reaches at best, and the least time of a step's operations there."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry


class Ceilings(NamedTuple):
    """What a device reaches at best: ``flops`` and ``bytes`` per second, measured."""

    flops: float
    bytes: float


class Roofline(NamedTuple):
    """A step's work: ``flops``, ``bytes`` moved, and the least ``seconds`` for them."""

    flops: int
    bytes: int
    seconds: float


def measure_ceilings(rounds: int = 5) -> Ceilings:
    """Measure what the CPU reaches with work that suits it best.

    Args:
        rounds (int): The best of so many counts. Defaults to 5.

    Returns:
        Ceilings: Of an fp32 matrix product of side 2048 and of copying 256 MiB, which
        reads and writes each byte once.
    """
    a, b = torch.randn(2, 2048, 2048)
    source = torch.zeros(2**26)
    target = torch.empty_like(source)
    product = _best(lambda: torch.mm(a, b), rounds)
    copy = _best(lambda: target.copy_(source), rounds)
    return Ceilings(2 * 2048**3 / product, 2 * source.nbytes / copy)


def roofline_of_step(runner: Any, ceilings: Ceilings, plan: Any = None) -> Roofline:
    """Add up, over a step's operations, the longer of computing and moving.

    Args:
        runner (StepRunner): Its model is trained for one step.
        ceilings (Ceilings): Of the CPU.
        plan (StepPlan, optional): What the step does. None for upstream models.
    """
    counter = _Counter(ceilings)
    with counter:
        runner.step(plan)
    return Roofline(counter.flops, counter.bytes, counter.seconds)


class _Counter(TorchDispatchMode):
    """Sees every operation, of the backward pass and the optimizer too."""

    def __init__(self, ceilings: Ceilings) -> None:
        super().__init__()
        self._ceilings = ceilings
        self.flops = self.bytes = 0
        self.seconds = 0.0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if _moves_nothing(func._schema):
            return out
        count = flop_registry.get(func._overloadpacket)
        flops = count(*args, **kwargs, out_val=out) if count else 0
        moved = sum(_size(x) for x in tree_leaves((args, kwargs, out)))
        self.flops += flops
        self.bytes += moved
        self.seconds += max(flops / self._ceilings.flops, moved / self._ceilings.bytes)
        return out


def _moves_nothing(schema: Any) -> bool:
    """Whether an operation gives a view of its argument, or memory as it is."""
    aliases = [argument.alias_info for argument in schema.arguments]
    view = any(alias is not None and not alias.is_write for alias in aliases)
    return view or schema.name.partition('::')[2].startswith(('empty', 'new_empty'))


def _size(x: object) -> int:
    """Bytes of a tensor's elements; those repeated by a stride of 0 count once."""
    if not isinstance(x, Tensor):
        return 0
    elements = 1
    for side, stride in zip(x.shape, x.stride()):
        elements *= side if stride else 1
    return elements * x.element_size()


def _best(work: Any, rounds: int) -> float:
    seconds = []
    for _ in range(rounds + 1):  # the first warms up
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])
