"""What figures were measured on."""

from __future__ import annotations

import platform
from pathlib import Path

import torch


def processor_name(device: str | torch.device | None = None) -> str:
    """Name of a GPU, or ``CPU`` and the processor's name.

    Args:
        device (str or torch.device, optional): By default the GPU if there is one.
    """
    if device is None:
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
    if torch.device(device).type == 'cuda':
        return torch.cuda.get_device_name(device)
    try:
        for line in Path('/proc/cpuinfo').read_text().splitlines():
            if line.startswith('model name'):
                return 'CPU ' + line.partition(':')[2].strip()
    except OSError:
        pass
    return f'CPU {platform.processor() or platform.machine()}'
