"""Sinkhorn-Knopp in plain words, and scores to balance."""

import torch

SHARP = 0.05


def scores(num_samples=16, num_prototypes=10):
    """Cosines; half of the samples resemble each other, so that balance matters."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(num_samples, num_prototypes, generator=generator)
    x[: num_samples // 2] += 2 * x[0]
    return torch.nn.functional.normalize(x, dim=1)


def plain_sinkhorn(x, iterations, epsilon):
    """The algorithm of SwAV's appendix on one matrix, in double precision."""
    q = torch.exp(x.double() / epsilon).t()
    q = q / q.sum()
    for _ in range(iterations):
        q = q / q.sum(dim=1, keepdim=True) / q.shape[0]
        q = q / q.sum(dim=0, keepdim=True) / q.shape[1]
    return (q * q.shape[1]).t()
