"""Memory of a step: of its tensors alone, and of all that they need."""

from collections.abc import Callable
from typing import Any

import torch

from mmaccel.hardware import forget_process_peak, process_peak_mb
from mmaccel.models.plan import StepPlan

from .device import synchronize


def peak_memory_mb(runner: Any, plan: StepPlan | None) -> float | None:
    """Peak MiB of a step's tensors, what other runners hold on the device left out.

    Weights, optimizer state and images are in it. What libraries take beside torch's
    allocator is not (see :func:`extra_memory`).
    """
    resident = runner.resident_bytes()
    extra = extra_memory(runner.device, lambda: runner.step(plan))
    return None if extra is None else round((resident + extra) / 2**20, 1)


def whole_peak_mb(runner: Any, plan: StepPlan | None) -> float:
    """Peak MiB that a device or a process has to have for a step.

    On CUDA what torch's allocator reserved, elsewhere what the whole process had
    resident.
    """
    if runner.device.type == 'cuda':
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(runner.device)
        runner.step(plan)
        return round(torch.cuda.max_memory_reserved(runner.device) / 2**20, 1)
    forget_process_peak()
    runner.step(plan)
    return process_peak_mb() or 0.0


def limit_memory(device: str, limit_mb: float) -> None:
    """Let torch's allocator on a CUDA device run out at a number of MiB."""
    total = torch.cuda.get_device_properties(device).total_memory
    share = min(limit_mb * 2**20 / total, 1.0)
    torch.cuda.set_per_process_memory_fraction(share, torch.device(device))


def bytes_on_device(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, images: list[torch.Tensor]
) -> int:
    """Bytes of weights, buffers, gradients, optimizer state and images.

    Storages are counted once; what an optimizer keeps on the host beside images on
    another device is not.
    """
    tensors = [*model.parameters(), *model.buffers(), *images]
    tensors += [p.grad for p in model.parameters() if p.grad is not None]
    for state in optimizer.state.values():
        tensors += [value for value in state.values() if torch.is_tensor(value)]
    there = [x.untyped_storage() for x in tensors if x.device == images[0].device]
    return sum({storage.data_ptr(): storage.nbytes() for storage in there}.values())


def extra_memory(device: torch.device, body: Callable[[], object]) -> int | None:
    """Most bytes that tensors take while ``body`` runs, beyond those before it.

    CUDA's allocator keeps the peak; that of the CPU does not, so every allocation is
    recorded by torch's profiler and summed up. Neither counts what libraries take
    without torch's allocator (a CUDA context, scratch memory of oneDNN).

    Returns:
        int, optional: None where torch cannot tell.
    """
    if device.type == 'cuda':
        synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        body()
        synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    if device.type != 'cpu':
        body()
        return None
    cpu = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=cpu, profile_memory=True) as trace:
        body()
    held = peak = 0
    events = trace.profiler.kineto_results.events()
    for event in sorted(events, key=_start):
        if event.name() == '[memory]':  # freed memory counts negative
            held += event.nbytes()
            peak = max(peak, held)
    return peak


def _start(event: Any) -> int:
    return event.start_ns() if hasattr(event, 'start_ns') else event.start_us()
