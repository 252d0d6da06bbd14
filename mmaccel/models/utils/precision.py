"""What is computed in fp32 also under mixed precision."""

import torch
from torch import Tensor


def full_precision(device: torch.device) -> torch.autocast:
    """Leave mixed precision: similarities, losses and codes are computed in fp32.

    bfloat16 has 8 bits for a similarity that is divided by a temperature of 0.1.
    """
    return torch.autocast(device.type, enabled=False)


def at_least_fp32(*vectors: Tensor) -> list[Tensor]:
    """Vectors of a 16-bit type as fp32, others as they are."""
    return [x.float() if x.element_size() < 4 else x for x in vectors]
