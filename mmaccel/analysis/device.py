"""What differs between devices when a step is measured: its name and clock."""

import os
import time
from typing import Any

import torch

from mmaccel.hardware import processor_name

# torch's profiler writes its starts and stops to stderr
os.environ.setdefault('KINETO_LOG_LEVEL', '99')


def device_name(device: str | torch.device) -> str:
    """Name of the processor that figures belong to, with a CPU's threads."""
    device = torch.device(device)
    threads = f', {torch.get_num_threads()} threads' if device.type == 'cpu' else ''
    return processor_name(device) + threads


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
