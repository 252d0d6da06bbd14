"""Upstream's SwAV loss, with codes and window losses to choose by."""

import torch
from mmselfsup.models.losses import SwAVLoss
from mmselfsup.registry import MODELS
from mmselfsup.utils import distributed_sinkhorn
from torch import Tensor, nn


@MODELS.register_module()
class AccelSwAVLoss(SwAVLoss):
    """SwAV's swapped prediction for a batch, and for each candidate window.

    :meth:`forward` is upstream's, queue included; :meth:`codes` and :meth:`score` give
    the same terms one view at a time, to choose the hardest windows by. The paper
    keeps "additional block-wise cluster centers" (Appendix A): one such loss per exit.

    Args:
        **kwargs: As upstream.
    """

    use_queue: bool

    @torch.no_grad()
    def codes(self, z: Tensor, count: int) -> list[Tensor]:
        """Assign the views that are assigned (``crops_for_assign``) to prototypes.

        Args:
            z (Tensor): (V * N, D) unit vectors of at least those views, view by view.
            count (int): Images N.

        Returns:
            list[Tensor]: (N, K) codes of each assigned view.

        Note:
            The queue takes part as in :meth:`forward`, once it is full, but does not
            change. Sinkhorn sums over ranks.
        """
        weight = nn.functional.normalize(self.prototypes.weight, dim=1)
        codes = []
        for i, view in enumerate(self.crops_for_assign):
            scores = z[view * count : (view + 1) * count] @ weight.t()
            if self._queue_is_full(i):
                scores = torch.cat((self.queue[i] @ weight.t(), scores))
            codes.append(
                distributed_sinkhorn(
                    scores, self.sinkhorn_iterations, self.world_size, self.epsilon
                )[-count:]
            )
        return codes

    def _queue_is_full(self, i: int) -> bool:
        """Upstream's condition; its hook unsets ``use_queue`` in every epoch."""
        if self.queue is not None and not self.use_queue:
            self.use_queue = bool((self.queue[i, -1] != 0).any())
        return self.queue is not None and self.use_queue

    @torch.no_grad()
    def score(self, z: Tensor, view: int, codes: list[Tensor]) -> Tensor:
        """Loss of each candidate window of one view.

        The codes come from whole maps, so a view's term does not depend on the windows
        of the others: each view picks its own hardest.

        Args:
            z (Tensor): (N, M, D) unit vectors of the candidates.
            view (int): Number of the view. Its own code is not predicted from it.
            codes (list[Tensor]): From :meth:`codes`.

        Returns:
            Tensor: (N, M) losses, summed over the codes that the view predicts.
        """
        weight = nn.functional.normalize(self.prototypes.weight, dim=1)
        log_p = nn.functional.log_softmax(
            (z @ weight.t()).float() / self.temperature, dim=-1
        )
        predicted = [
            code
            for assigned, code in zip(self.crops_for_assign, codes)
            if assigned != view
        ]
        loss = log_p.new_zeros(log_p.shape[:2])
        for code in predicted:
            loss -= torch.einsum('nk,nmk->nm', code.float(), log_p)
        return loss
