"""Which views run through a network together."""

from collections.abc import Sequence

from torch import Tensor


def same_size(inputs: Sequence[Tensor]) -> list[range]:
    """Group consecutive views of one size, as upstream runs them through the network.

    Args:
        inputs (Sequence[Tensor]): Views (N, C, H, W).

    Returns:
        list[range]: Numbers of the views of each group.
    """
    starts = [
        i
        for i, view in enumerate(inputs)
        if i == 0 or view.shape[-1] != inputs[i - 1].shape[-1]
    ]
    return [range(a, b) for a, b in zip(starts, [*starts[1:], len(inputs)])]
