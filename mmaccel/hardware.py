"""What this process runs on: its device, its memory and its place among others."""

from __future__ import annotations

import os
import platform
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mmaccel.errors import ConfigError

if TYPE_CHECKING:
    import torch


def choose_device(name: str | None = None) -> str:
    """Return the device asked for, by default a GPU if there is one, else the CPU.

    Raises:
        ConfigError: If it is a GPU and there is none.
    """
    import torch

    if torch.cuda.is_available():
        return name or 'cuda'
    if name is not None and name.startswith('cuda'):
        raise ConfigError('there is no CUDA device here; use --device cpu')
    return name or 'cpu'


def processor_name(device: str | torch.device | None = None) -> str:
    """Name of a GPU, or ``CPU`` and the processor's name.

    Args:
        device (str or torch.device, optional): By default the GPU if there is one.
    """
    import torch

    device = choose_device() if device is None else device
    if torch.device(device).type == 'cuda':
        return torch.cuda.get_device_name(device)
    with suppress(OSError):
        for line in Path('/proc/cpuinfo').read_text().splitlines():
            if line.startswith('model name'):
                return 'CPU ' + line.partition(':')[2].strip()
    return f'CPU {platform.processor() or platform.machine()}'


def process_peak_mb() -> float | None:
    """Peak resident memory of this process in MiB, None where it is not known.

    Since :func:`forget_process_peak` where the system has that, else so far.
    """
    with suppress(OSError, IndexError):
        status = Path('/proc/self/status').read_text()
        return round(int(status.partition('VmHWM:')[2].split()[0]) / 2**10, 1)
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == 'darwin' else 2**10), 1)


def forget_process_peak() -> None:
    """Start a new peak, where the system can (Linux); else it never falls."""
    with suppress(OSError):
        Path('/proc/self/clear_refs').write_text('5')


def process_rank() -> int:
    """Rank of this process as its launcher says, before it has joined the others."""
    for name in ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK'):
        if name in os.environ:
            return int(os.environ[name])
    return 0
