"""Upstream's ``distributed_sinkhorn`` is not distributed.

It sums each prototype's weight over this process alone, so that every rank balances
its own samples and codes depend on the number of GPUs: MMSelfSup never sums over
ranks, MMPretrain only where a weight is zero, which may be so on one rank alone. The
algorithm's authors sum over all processes in each iteration (``distributed_sinkhorn``
in main_swav.py of facebookresearch/swav), which makes N processes equal one with all
samples.
"""

from typing import Any

import torch
from torch import Tensor

from mmaccel.compat._patch import replace_everywhere
from mmaccel.host import Host, installed

_EPS = 1e-12


@torch.no_grad()
def distributed_sinkhorn(
    out: Tensor, sinkhorn_iterations: int, world_size: int, epsilon: float
) -> Tensor:
    """Turn prototype scores into balanced soft assignments (Sinkhorn-Knopp).

    Args:
        out: Scores of this process's samples; the same number in every process.
        sinkhorn_iterations: Number of iterations, 3 in SwAV.
        world_size: Number of processes.
        epsilon: Temperature of the assignment, 0.05 in SwAV. Positive; smaller is
            sharper.

    Shape:
        out: (..., B, K), samples by prototypes, of any number of independent
        assignments; returns: the same, rows summing to 1, in float32 or better.

    Note:
        ``2 + sinkhorn_iterations`` collectives: exp is taken relative to the
        greatest score anywhere, so that no ``epsilon`` overflows.
    """
    from mmengine.dist import all_reduce

    scores = out.to(torch.promote_types(out.dtype, torch.float32)).mT / epsilon
    greatest = scores.amax((-2, -1), keepdim=True)
    all_reduce(greatest, op='max')
    q = torch.exp(scores - greatest)  # (..., K, B), the paper's Q
    num_prototypes, num_samples = q.shape[-2], q.shape[-1] * world_size

    total = q.sum((-2, -1), keepdim=True)
    all_reduce(total)
    q /= total

    for _ in range(sinkhorn_iterations):
        # each prototype weighs 1/K over the samples of all processes
        weight = q.sum(dim=-1, keepdim=True)
        all_reduce(weight)
        # as upstream: when one has underflowed to nothing, all get a little
        starved = (weight == 0).any(dim=-2, keepdim=True) * _EPS
        q += starved
        weight += starved * num_samples
        q /= weight * num_prototypes
        # each sample weighs 1/B over the prototypes
        q /= q.sum(dim=-2, keepdim=True) * num_samples

    return (q * num_samples).mT


def _is_local(host: Host) -> bool:
    """Whether an iteration of a host's function runs without communication."""
    module = host.module(host.sinkhorn)
    function = module.distributed_sinkhorn
    if function is distributed_sinkhorn or not hasattr(module, 'all_reduce'):
        return False
    original: Any = module.all_reduce
    calls: list[Tensor] = []
    module.all_reduce = calls.append
    try:
        function(torch.zeros(2, 2), 3, 1, 0.05)
    finally:
        module.all_reduce = original
    return len(calls) < 4  # the total, and one per iteration


def is_needed() -> bool:
    """Tell whether a host's iteration runs without communication."""
    return any(_is_local(host) for host in installed())


def apply() -> None:
    """Put ours in place of upstream's wherever it is imported."""
    for host in filter(_is_local, installed()):
        upstream = host.module(host.sinkhorn).distributed_sinkhorn
        replace_everywhere('distributed_sinkhorn', upstream, distributed_sinkhorn)
