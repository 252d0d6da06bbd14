"""Upstream's contrastive head with a loss for every candidate pair."""

from __future__ import annotations

import math

import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor

from mmaccel import host

from ..utils.precision import at_least_fp32


@MODELS.register_module()
class AccelContrastiveHead(BaseModule):
    """InfoNCE, for a batch and for each pair of candidate windows.

    Paper, equation (1). :meth:`forward` is upstream's; :meth:`score` is the same
    loss, one value a pair, used to choose the hardest (equation 4).

    Args:
        loss (dict): Config of the loss function, as upstream.
        temperature (float): Temperature tau > 0. Defaults to 0.1, as upstream.
        decoupled (bool): Leave the positive out of the denominator: the decoupled
            contrastive loss (Yeh et al. 2022, equation 6), whose gradient does not
            fade where positives are easy or negatives few. Defaults to False, InfoNCE.
    """

    def __init__(
        self, loss: dict, temperature: float = 0.1, decoupled: bool = False
    ) -> None:
        super().__init__()
        self.loss_module = host.build(MODELS, loss)
        self.temperature = temperature
        self.decoupled = decoupled

    def forward(self, pos: Tensor, neg: Tensor) -> Tensor:
        """Compute the mean loss of a batch, at least in fp32.

        Args:
            pos (Tensor): (N, 1) positive similarities.
            neg (Tensor): (N, K) negative similarities.
        """
        if self.decoupled:
            return self.score(pos[:, None], neg[:, None]).mean()
        logits = torch.cat(at_least_fp32(pos, neg), dim=1) / self.temperature
        # upstream makes its labels on the host, which then waits for the device
        labels = torch.zeros(len(pos), dtype=torch.long, device=pos.device)
        return self.loss_module(logits, labels)

    def score(self, pos: Tensor, neg: Tensor) -> Tensor:
        """Compute the loss of every pair of candidate windows.

        For a fixed query window the negatives' term is one logsumexp; only the
        positive changes with the key window.

        Args:
            pos (Tensor): (N, P, Q) similarity of query window p and key window q.
            neg (Tensor): (N, P, K) similarities of query window p to the negatives.

        Returns:
            Tensor: (N, P, Q) losses, fp32.
        """
        pos, neg = (x / self.temperature for x in at_least_fp32(pos, neg))
        neg = torch.logsumexp(neg, dim=-1, keepdim=True)
        return (neg if self.decoupled else torch.logaddexp(pos, neg)) - pos

    def chance(self, num_negatives: int) -> float:
        """Loss of a model that cannot tell the positive from the negatives."""
        return math.log(num_negatives + (not self.decoupled))
