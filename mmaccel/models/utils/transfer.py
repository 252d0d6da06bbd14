"""Tensors on their way between ranks, and from the host to the device."""

import torch
from mmengine.dist import all_gather, get_rank, get_world_size
from torch import Tensor


def to_device(x: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor of the host to a device without waiting for it.

    Args:
        x (Tensor): On the CPU, or already on the device.
        device (torch.device): Where to.
    """
    if x.device.type == 'cpu' and device.type == 'cuda':
        x = x.pin_memory()  # else the host waits for all that the device has to do
    return x.to(device, non_blocking=True)


@torch.no_grad()
def gather_rows(x: Tensor) -> Tensor:
    """Rows (N, ...) of all ranks as (world size * N, ...), in the order of the ranks.

    Without a gradient. A single process gets its own rows back, not a copy.
    """
    if get_world_size() == 1:
        return x.detach()
    return torch.cat(all_gather(x.contiguous()))


def gather_with_own_gradient(x: Tensor) -> Tensor:
    """As :func:`gather_rows`, with the gradient of this rank's own rows.

    The other ranks' rows carry none, as with upstream's ``GatherLayer``.
    """
    if get_world_size() == 1:
        return x
    rows, first = gather_rows(x), get_rank() * len(x)
    return torch.cat((rows[:first], x, rows[first + len(x) :]))
