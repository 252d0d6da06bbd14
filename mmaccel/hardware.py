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

_CPUINFO = '/proc/cpuinfo'
_BF16 = ('avx512_bf16', 'amx_bf16', 'bf16')  # the last is Arm's
_ABILITIES = ('avx2', 'avx512f', *_BF16)


def choose_device(name: str | None = None) -> str:
    """Return the device asked for, by default a GPU if there is one, else the CPU.

    Raises:
        ConfigError: If torch knows none of that name, or it is a GPU and there is none.
    """
    import torch

    try:
        torch.device(name or 'cpu')
    except RuntimeError as error:
        raise ConfigError(
            f'--device {name} is unknown; use cpu, cuda or, for the second GPU, cuda:1'
        ) from error
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
    name = _cpuinfo().get('model name')
    return f'CPU {name or platform.processor() or platform.machine()}'


def processor_abilities() -> list[str] | None:
    """Vector and bfloat16 instructions of the CPU, which its name often leaves open.

    Returns:
        list[str], optional: Those of ``avx2``, ``avx512f``, ``avx512_bf16``,
        ``amx_bf16`` and Arm's ``bf16`` that it has. None where the system does not
        say.
    """
    info = _cpuinfo()
    flags = info.get('flags', info.get('Features'))
    if flags is None:
        return None
    return [ability for ability in _ABILITIES if ability in flags.split()]


def emulates_bf16() -> bool:
    """Whether the CPU is known to have no instructions for bfloat16."""
    abilities = processor_abilities()
    return abilities is not None and not set(abilities) & set(_BF16)


def _cpuinfo() -> dict[str, str]:
    """What Linux says of the first processor; elsewhere nothing."""
    found: dict[str, str] = {}
    with suppress(OSError):
        for line in Path(_CPUINFO).read_text().splitlines():
            key, _, value = line.partition(':')
            found.setdefault(key.strip(), value.strip())
    return found


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
