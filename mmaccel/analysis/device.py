"""What differs between devices when a step is measured: its name, clock and memory."""

from __future__ import annotations

import os
import platform
import time
from typing import Any, Callable

import torch


def device_name(device: str | torch.device) -> str:
    """Name of the processor that figures belong to."""
    device = torch.device(device)
    if device.type == 'cuda':
        return torch.cuda.get_device_name(device)
    model = platform.processor() or platform.machine()
    if os.path.exists('/proc/cpuinfo'):
        with open('/proc/cpuinfo') as file:
            names = [line.split(':')[1] for line in file if 'model name' in line]
        model = names[0].strip() if names else model
    return f'CPU {model}, {torch.get_num_threads()} threads'


def synchronize(device: torch.device) -> None:
    """Wait until a device has done what it was given."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


class Marks:
    """Instants on a device's own time line, and how long lay between them.

    On CUDA an instant is an event in the current stream: nothing waits for it, so
    measuring changes neither the order of the work nor how it overlaps with the host's.
    Time in which the device idles counts for whoever it waited for.

    Args:
        device (torch.device): Where the work is done.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._marks: list[tuple[Any, str]] = []

    def mark(self, label: str) -> None:
        """Say what is being done from now on, on any thread."""
        instant: Any = time.perf_counter()
        if self._device.type == 'cuda':
            instant = torch.cuda.Event(enable_timing=True)
            instant.record()
        self._marks.append((instant, label))

    def milliseconds(self) -> dict[str, float]:
        """Time by label; the last mark only ends what was before it."""
        synchronize(self._device)
        total: dict[str, float] = {}
        for (start, label), (end, _) in zip(self._marks, self._marks[1:]):
            if self._device.type == 'cuda':
                passed = start.elapsed_time(end)
            else:
                passed = 1000 * (end - start)
            total[label] = total.get(label, 0.0) + passed
        return total


def extra_memory(device: torch.device, body: Callable[[], object]) -> int | None:
    """Most bytes that tensors take while ``body`` runs, beyond those before it.

    CUDA's allocator keeps the peak; that of the CPU does not, so every allocation is
    recorded by torch's profiler and summed up. Neither counts what libraries take
    behind torch's back (a CUDA context, scratch memory of oneDNN).

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
