"""Counting and timing steps."""

from __future__ import annotations

import resource
import statistics
import sys
import time
from typing import Any, NamedTuple, Sequence

import torch

from mmaccel.models.plan import StepPlan

from .device import extra_memory
from .step import StepRunner


class Spread(dict):
    """``{median, min, max}`` of a measured figure, rounded to six digits."""

    def __init__(self, values: Sequence[float]) -> None:
        super().__init__(
            median=float(f'{statistics.median(values):.6g}'),
            min=float(f'{min(values):.6g}'),
            max=float(f'{max(values):.6g}'),
        )


def cost_of_step(runner: StepRunner, plan: StepPlan | None = None) -> dict:
    """Count one step's multiply-accumulate operations and activation memory.

    The step is run under torch's own FLOP counter, so what is counted is what runs:
    both encoders, projectors, scoring of windows, logits; forward and backward. Two
    FLOPs are one MAC. Convolutions and matrix products are counted, as usual;
    elementwise work is not.

    Args:
        runner (StepRunner): Its model is run once, without an optimizer step.
        plan (StepPlan, optional): What the step does. None for upstream models.

    Returns:
        dict: ``forward`` and ``backward`` in MACs an image, ``activation_mb``: MiB
        an image that the forward pass keeps for the backward pass,
        ``gradient_mb``: MiB of gradients, which is what ranks reduce.

    Raises:
        RuntimeError: If this torch has no FLOP counter (before 2.1).
    """
    try:
        from torch.utils.flop_counter import FlopCounterMode
    except ImportError as error:
        raise RuntimeError(
            f'counting operations needs torch 2.1 or newer and this is '
            f'{torch.__version__}; use the environment of constraints.txt'
        ) from error

    runner.use(plan)
    kept = _SavedForBackward(runner.model)
    forward, backward = FlopCounterMode(display=False), FlopCounterMode(display=False)
    with forward, torch.autograd.graph.saved_tensors_hooks(kept.pack, kept.unpack):
        loss = runner.forward()
    with backward:
        loss.backward()
    gradients = [p.grad for p in runner.model.parameters() if p.grad is not None]
    runner.optim_wrapper.zero_grad()
    images = runner.batch_size
    return dict(
        forward=forward.get_total_flops() // 2 // images,
        backward=backward.get_total_flops() // 2 // images,
        activation_mb=round(kept.bytes / images / 2**20, 3),
        gradient_mb=round(
            sum(g.numel() * g.element_size() for g in gradients) / 2**20, 3
        ),
    )


class _SavedForBackward:
    """Bytes of distinct storages that autograd keeps, parameters left out."""

    def __init__(self, model: torch.nn.Module) -> None:
        owned = [*model.parameters(), *model.buffers()]
        self._seen = {tensor.untyped_storage().data_ptr() for tensor in owned}
        self.bytes = 0

    def pack(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._seen:
            self._seen.add(storage.data_ptr())
            self.bytes += storage.nbytes()
        return tensor

    def unpack(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor


class Timed(NamedTuple):
    """A step to be timed: ``runner.step(plan)`` between two ``runner.synchronize()``.

    ``runner`` is a :class:`StepRunner` or another library's that steps like one.
    """

    name: str
    runner: Any
    plan: StepPlan | None = None


def time_steps(
    variants: Sequence[Timed],
    rounds: int,
    warmup: int,
) -> dict[str, list[float]]:
    """Time variants of a step in turn, so that all see the same state of the machine.

    Args:
        variants (Sequence[Timed]): What to time.
        rounds (int): Timed rounds; each runs every variant once.
        warmup (int): Rounds before, not timed.

    Returns:
        dict[str, list[float]]: Milliseconds of each round.
    """
    times: dict[str, list[float]] = {name: [] for name, _, _ in variants}
    for i in range(warmup + rounds):
        for name, runner, plan in variants:
            runner.synchronize()
            start = time.perf_counter()
            runner.step(plan)
            if i >= warmup:
                times[name].append(1000 * (time.perf_counter() - start))
    return times


def ratios(ours: Sequence[float], baseline: Sequence[float]) -> Spread:
    """Spread of the ratio within each round, in which both saw the same machine."""
    return Spread([a / b for a, b in zip(ours, baseline)])


def peak_memory_mb(runner: Any, plan: StepPlan | None) -> float | None:
    """Peak MiB of a step's tensors, what other runners hold on the device left out.

    Weights, optimizer state and images are in it. What libraries take beside torch's
    allocator is not (see :func:`mmaccel.analysis.device.extra_memory`).
    """
    resident = runner.resident_bytes()
    extra = extra_memory(runner.device, lambda: runner.step(plan))
    return None if extra is None else round((resident + extra) / 2**20, 1)


def process_peak_mb() -> float:
    """Peak resident memory of this process so far, in MiB."""
    unit = 1 if sys.platform == 'darwin' else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak * unit / 2**20, 1)
