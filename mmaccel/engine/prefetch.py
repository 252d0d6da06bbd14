"""Copy the next batch to the GPU while the current one is computed."""

from collections.abc import Iterable, Iterator

import torch
from torch import is_tensor
from torch.utils._pytree import tree_leaves, tree_map


def on_device(batches: Iterable[dict], device: torch.device) -> Iterator[dict]:
    """Yield batches with their ``inputs`` on a device, one copied ahead.

    Copies run on a stream of their own, in parallel with the computation where batches
    are pinned. For devices other than CUDA, batches are yielded unchanged.

    Args:
        batches (Iterable[dict]): ``inputs`` is a tensor or nested lists of tensors, as
            the views are; other entries stay where they are.
        device (torch.device): Where the model is.
    """
    if device.type != 'cuda':
        yield from batches
        return
    stream = torch.cuda.Stream(device)
    ahead = None
    for batch in batches:
        with torch.cuda.stream(stream):
            inputs = tree_map(
                lambda x: x.to(device, non_blocking=True) if is_tensor(x) else x,
                batch['inputs'],
            )
            copied = torch.cuda.Event()
            copied.record(stream)
        if ahead is not None:
            yield _awaited(*ahead)
        ahead = {**batch, 'inputs': inputs}, copied
    if ahead is not None:
        yield _awaited(*ahead)


def _awaited(batch: dict, copied: torch.cuda.Event) -> dict:
    """Let the device's current stream wait for the copy; the host does not wait."""
    current = torch.cuda.current_stream()
    current.wait_event(copied)
    for x in filter(is_tensor, tree_leaves(batch['inputs'])):
        x.record_stream(current)  # its memory is not reused earlier
    return batch
