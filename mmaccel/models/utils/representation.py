"""Numbers that tell a collapsed representation from a healthy one."""

import torch
import torch.nn.functional as F


@torch.no_grad()
def feature_std(z: torch.Tensor) -> torch.Tensor:
    """Spread of L2-normalised features: 1 if isotropic, 0 if collapsed.

    The mean over dimensions of the standard deviation over samples, times sqrt(D): the
    curve SimSiam watches for collapse (Chen and He, 2021, figure 2, middle), scaled so
    that its healthy value does not depend on the dimension. The population deviation is
    used, so the value never exceeds 1 and is 0 for a single sample.

    Args:
        z (torch.Tensor): Features of any floating type; computed in fp32.

    Shape:
        z: (N, D); returns: ().
    """
    z = F.normalize(z.float(), dim=1)
    std = (z - z.mean(dim=0)).square().mean(dim=0).sqrt()  # (D,)
    return std.mean() * z.shape[1] ** 0.5


@torch.no_grad()
def effective_rank(z: torch.Tensor) -> torch.Tensor:
    """Number of directions the features really use, between 1 and min(N, D).

    The exponential of the entropy of the singular values divided by their sum (Roy and
    Vetterli, The Effective Rank, 2007). It shows the collapse onto a subspace, which
    :func:`feature_std` overlooks. Compare values of equal N only: a batch of N samples
    cannot show more than N directions.

    Args:
        z (torch.Tensor): Features of any floating type; computed in fp32, neither
            centred nor normalised.

    Shape:
        z: (N, D); returns: (), 0 if ``z`` is all zero and NaN if it is not finite.
    """
    z = z.float()
    finite = z.isfinite().all()  # the host does not ask: it would wait for the device
    # the decomposition of what is not finite would raise
    sigma = torch.linalg.svdvals(torch.where(finite, z, torch.zeros_like(z)))
    total = sigma.sum()
    p = sigma / torch.where(total > 0, total, torch.ones_like(total))
    rank = torch.special.entr(p).sum().exp() * (total > 0)
    return torch.where(finite, rank, torch.full_like(rank, float('nan')))


@torch.no_grad()
def pair_statistics(
    z: torch.Tensor, pos: torch.Tensor, neg: torch.Tensor, stage: int, chance: float
) -> dict[str, torch.Tensor]:
    """How similar the pairs of a step are, and whether features collapse, for the log.

    Args:
        z (torch.Tensor): Unit vectors (N, D) of one view.
        pos (torch.Tensor): Positive similarities.
        neg (torch.Tensor): Negative similarities.
        stage (int): Exit they belong to, which names the figures.
        chance (float): Loss of a model that cannot tell positives from negatives.
    """
    return {
        f'pos_sim_exit{stage}': pos.float().mean(),
        f'neg_sim_exit{stage}': neg.float().mean(),
        f'feat_std_exit{stage}': feature_std(z),
        f'eff_rank_exit{stage}': effective_rank(z),
        f'chance_exit{stage}': torch.tensor(chance),
    }
