"""SwAV's loss, with codes and window losses to choose by."""

from collections.abc import Sequence

import torch
from mmengine.dist import get_world_size
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from mmaccel.compat.swav_sinkhorn import distributed_sinkhorn


@MODELS.register_module()
class AccelSwAVLoss(BaseModule):
    """SwAV's swapped prediction for a batch, and for each candidate window.

    :meth:`forward` is upstream's, queue included, with all views in one Sinkhorn;
    :meth:`codes` and :meth:`score` give the same terms, to choose the hardest windows
    by. The paper keeps "additional block-wise cluster centers" (Appendix A): one
    such loss per exit.

    Args:
        feat_dim (int): Length D of the vectors.
        sinkhorn_iterations (int): Of the assignment, 1 or more. Defaults to 3.
        epsilon (float): Temperature of the assignment, > 0. Defaults to 0.05.
        temperature (float): Temperature of the prediction, > 0. Defaults to 0.1.
        crops_for_assign (Sequence[int]): Views whose codes are predicted. Defaults to
            the first two.
        num_crops (Sequence[int]): Views of each size. Defaults to two of one.
        num_prototypes (int): Prototypes K. Defaults to 3000.
        init_cfg (dict, optional): Of the weights' initialization. Defaults to None.

    Attributes:
        queue (Tensor, optional): (A, Q, D) earlier vectors of the assigned views, which
            ``SwAVHook`` sets.
        use_queue (bool): Whether it is known to be full.
    """

    def __init__(
        self,
        feat_dim: int,
        sinkhorn_iterations: int = 3,
        epsilon: float = 0.05,
        temperature: float = 0.1,
        crops_for_assign: Sequence[int] = (0, 1),
        num_crops: Sequence[int] = (2,),
        num_prototypes: int = 3000,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.sinkhorn_iterations = sinkhorn_iterations
        self.epsilon = epsilon
        self.temperature = temperature
        self.crops_for_assign = crops_for_assign
        self.num_crops = num_crops
        self.use_queue = False
        self.queue: Tensor | None = None
        self._counted: Tensor | None = None  # the queue whose used rows are known
        self._rows = 0
        self.world_size = get_world_size()
        self.prototypes = nn.Linear(feat_dim, num_prototypes, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the loss of a batch; the queue, where there is one, takes its views.

        Args:
            x (Tensor): (V * N, D) unit vectors, view by view.
        """
        with torch.no_grad():
            weight = nn.functional.normalize(self.prototypes.weight, dim=1)
            self.prototypes.weight.copy_(weight)
        scores = self.prototypes(x)
        num_views = sum(self.num_crops)
        count = len(x) // num_views
        codes = self._assign(scores.detach(), weight, count)
        self._fill_queue(x.detach(), count)
        loss = scores.new_zeros(())
        for code, assigned in zip(codes, self.crops_for_assign):
            terms = scores.new_zeros(())
            for view in range(num_views):
                if view != assigned:
                    rows = scores[view * count : (view + 1) * count]
                    log_p = nn.functional.log_softmax(rows / self.temperature, dim=1)
                    terms = terms - (code * log_p).sum(dim=1).mean()
            loss = loss + terms / (num_views - 1)
        return loss / len(self.crops_for_assign)

    @torch.no_grad()
    def codes(self, z: Tensor, count: int) -> Tensor:
        """Assign the views that are assigned (``crops_for_assign``) to prototypes.

        Args:
            z (Tensor): (V * N, D) unit vectors of at least those views, view by view.
            count (int): Images N.

        Returns:
            Tensor: (A, N, K) codes of each of the A assigned views.

        Note:
            The queue takes part as in :meth:`forward`, once it is full, but does not
            change. Sinkhorn sums over ranks.
        """
        weight = nn.functional.normalize(self.prototypes.weight, dim=1)
        return self._assign(z @ weight.t(), weight, count)

    @torch.no_grad()
    def _assign(self, scores: Tensor, weight: Tensor, count: int) -> Tensor:
        """Codes (A, N, K) from scores (V * N, K), all views in one Sinkhorn."""
        rows = torch.stack(
            [scores[v * count : (v + 1) * count] for v in self.crops_for_assign]
        )
        if self.queue is not None and self._queue_is_full():
            rows = torch.cat((self.queue @ weight.t(), rows), dim=1)
        return distributed_sinkhorn(
            rows, self.sinkhorn_iterations, self.world_size, self.epsilon
        )[:, -count:]

    @torch.no_grad()
    def _fill_queue(self, z: Tensor, count: int) -> None:
        if self.queue is not None:
            self._rows += count
            for i, view in enumerate(self.crops_for_assign):
                self.queue[i, count:] = self.queue[i, :-count].clone()
                self.queue[i, :count] = z[view * count : (view + 1) * count]

    def _queue_is_full(self) -> bool:
        """Upstream's condition, that the last row is used; its hook forgets the answer
        in every epoch.

        Note:
            The host waits for the device once for each queue that the hook hands over,
            that is once per epoch until it is full; then it counts the rows itself.
        """
        if self.queue is not None and not self.use_queue:
            if self._counted is not self.queue:
                used = (self.queue != 0).any(0).any(-1)  # (Q,), from the first row on
                self._counted, self._rows = self.queue, int(used.sum())
            self.use_queue = self._rows >= self.queue.size(1)
        return self.queue is not None and self.use_queue

    @torch.no_grad()
    def score(self, z: Tensor, view: int, codes: Tensor) -> Tensor:
        """Loss of each candidate window of one view.

        The codes come from whole maps, so a view's term does not depend on the windows
        of the others: each view picks its own hardest.

        Args:
            z (Tensor): (N, M, D) unit vectors of the candidates.
            view (int): Number of the view. Its own code is not predicted from it.
            codes (Tensor): From :meth:`codes`.

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
