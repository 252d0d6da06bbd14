"""Accel-SimCLR: SimCLR with a loss after every stage, exits and windows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement
from torch import Tensor

from ..utils.negatives import other_images
from ..utils.precision import at_least_fp32, full_precision
from ..utils.representation import pair_statistics
from ..utils.stages import StagePass
from ..utils.transfer import gather_rows, gather_with_own_gradient
from .accel_base import AccelAlgorithm


@MODELS.register_module()
class AccelSimCLR(AccelAlgorithm):
    """SimCLR with partial back-propagation and hard-pair selection.

    With the last exit and no windows this is upstream's ``SimCLR``, operation by
    operation.

    A pipeline that gives more than two views, the further ones smaller, trains with
    multi-crop (not in the paper). As in SwAV (Caron et al. 2020, Section 3.2), the two
    large views are what every other view of an image is compared with, and small
    views are not compared with each other. A stage's loss is the mean over these
    pairs, of NT-Xent's 2 and the 2 of each small view; negatives are the large views
    of the other images.

    Paper: Algorithm 1 and equations (3), (4).

    Args:
        *args: As of :class:`AccelAlgorithm`, with an ``IntermediateNeck`` of
            ``NonLinearNeck`` and an ``AccelContrastiveHead``.
        scale_gradient (bool): As upstream, only this rank's share of the gathered
            vectors carries a gradient while the loss is a mean over all ranks: the
            gradient that DDP averages is 1 / world size of that of one process with
            the whole batch. True multiplies it by the world size; the loss that is
            logged stays. LARS and Adam hardly see the scale, SGD does. Defaults to
            False, as upstream.
        crop_layer, loss_on, loss_weights, channels_last, compile_stages: As of
            :class:`AccelAlgorithm`.
        **kwargs: As of :class:`AccelAlgorithm`.

    Raises:
        ValueError: If parts do not fit together, naming the setting to change.
    """

    two_sizes = True  # a step may give the two views a size each

    def __init__(self, *args: Any, scale_gradient: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.scale_gradient = scale_gradient

    def unit(self, z: Tensor) -> Tensor:
        """Normalise vectors (N, D) by upstream's formula."""
        return z / (torch.norm(z, p=2, dim=1, keepdim=True) + 1e-10)

    def loss(
        self, inputs: list[Tensor], data_samples: list[BaseDataElement], **_: Any
    ) -> dict[str, Tensor]:
        """Run one training step's forward pass (paper, Algorithm 1).

        Args:
            inputs (list[Tensor]): Two views of the images, each (N, 3, H, W), then
                any number of small ones.
            data_samples (list[BaseDataElement]): Not used.

        Returns:
            dict[str, Tensor]: ``loss_exit{i}`` for each stage i with a loss and, when
            the plan says so, what :func:`pair_statistics` reports.

        Note:
            Gathers vectors over ranks.
        """
        self.check_pair(inputs)
        pair = inputs[:2]
        plan = self.current_plan()
        loss_stages = self.loss_stages(plan)
        generator = plan.window_generator()
        own: dict[int, Tensor] = {}  # stage to unit vectors (2N, D) of this rank

        if plan.scale_of(0) == plan.scale_of(1):  # one batch of all views, as upstream
            passes = [self.trained_pass(side_by_side(pair), plan)]
        else:
            passes = [self.trained_pass(x, plan, view) for view, x in enumerate(pair)]
        for stop in self.stops(plan, last=plan.exit_stage):
            z: dict[int, list[Tensor]] = {}
            for views in passes:
                for stage, x in views.run_to(stop):
                    if stage in loss_stages:
                        vectors = self.project(self.neck, x, stage)
                        z.setdefault(stage, []).append(vectors)
            own.update((stage, side_by_side(parts)) for stage, parts in z.items())
            if stop < plan.exit_stage:  # pass on the hardest pair of windows
                score = partial(self.score_windows, stop, [x.x for x in passes])
                self.crop(passes, score, generator)

        small = self.project_small(inputs[2:], plan, loss_stages)
        losses: dict[str, Tensor] = {}
        for stage in loss_stages:
            every = gather_with_own_gradient(own[stage])  # (2N, D) of all ranks
            with full_precision(every.device):
                (every,) = at_least_fp32(every)
                similarity = torch.matmul(every, every.permute(1, 0))
                rows = torch.arange(len(every), device=every.device)
                pos = similarity[rows, rows ^ 1].unsqueeze(1)  # the other view
                neg = similarity.gather(1, other_images(rows, len(every)))
                loss = self.head(pos, neg)
            if small:
                count = len(small[stage])
                further = self.small_loss(small[stage], every)
                loss = (loss + count * further) / (1 + count)  # the mean over pairs
            if self.scale_gradient:  # the same value
                loss = loss + (get_world_size() - 1) * (loss - loss.detach())
            losses[f'loss_exit{stage}'] = self.loss_weights[stage - 1] * loss
            if plan.measure:
                chance = self.head.chance(neg.size(1))
                losses.update(pair_statistics(own[stage], pos, neg, stage, chance))
        return losses

    def small_loss(self, small: Sequence[Tensor], large: Tensor) -> Tensor:
        """Mean loss of small views, each against both large views of its image.

        Args:
            small (Sequence[Tensor]): (N, D) unit vectors of each small view of this
                rank.
            large (Tensor): (2N, D) unit vectors of the large views of all ranks, those
                of an image together.

        Note:
            Gathers the small views' vectors over ranks: as with NT-Xent, each rank
            differentiates its own share of the mean over all.
        """
        anchors = gather_with_own_gradient(side_by_side(small))
        with full_precision(anchors.device):
            (anchors,) = at_least_fp32(anchors)
            similarity = torch.matmul(anchors, large.t())
            rows = torch.arange(len(anchors), device=anchors.device)
            first = 2 * (rows // len(small))  # column of the image's first large view
            neg = similarity.gather(1, other_images(first, len(large)))
            pos = [similarity[rows, first + view].unsqueeze(1) for view in (0, 1)]
            return (self.head(pos[0], neg) + self.head(pos[1], neg)) / 2

    def crop(
        self,
        passes: Sequence[StagePass],
        score: Callable[[Tensor, Tensor], Tensor],
        generator: torch.Generator | None,
    ) -> None:
        """Let the hardest pair of windows of each image take the place of its maps."""
        if len(passes) == 1:
            (views,) = passes
            views.x = self.crop_layer.side_by_side(views.x, score, generator)
            return
        first, second = passes
        pair = self.crop_layer(first.x, second.x, score, generator)
        first.x, second.x = pair.x_q, pair.x_k

    def score_windows(
        self,
        stage: int,
        maps: Sequence[Tensor],
        pooled_1: Tensor,
        pooled_2: Tensor,
    ) -> Tensor:
        """Loss of each pair of candidate windows after a stage (equation 4).

        NT-Xent has both views as anchors, so a pair's loss is the sum of the two. The
        negatives are the other images' views, uncropped.

        Args:
            stage (int): Stage the maps come from.
            maps (Sequence[Tensor]): Uncropped maps, (2N, C, H, W) with views side by
                side, or (N, C, H, W) of each view.
            pooled_1 (Tensor): (N, M, C) windows of the first views.
            pooled_2 (Tensor): (N, M, C) windows of the second views.

        Returns:
            Tensor: (N, M, M) losses.
        """
        views = [x.mean(dim=(2, 3)) for x in maps]
        whole = (
            torch.stack(views, 1) if len(views) == 2 else views[0].unflatten(0, (-1, 2))
        )
        # whole maps and windows of an image in one pass: (N, 2 + 2M, C)
        z = self.project_windows(
            self.neck, torch.cat((whole, pooled_1, pooled_2), dim=1), stage
        )
        own, first, second = z.split((2, pooled_1.size(1), pooled_2.size(1)), dim=1)
        negatives = gather_rows(own.flatten(0, 1))
        count = len(first)
        rows = 2 * (torch.arange(count, device=first.device) + get_rank() * count)
        others = other_images(rows, len(negatives))  # (N, 2N - 2)

        def against_others(q: Tensor) -> Tensor:
            columns = others.unsqueeze(1).expand(-1, q.size(1), -1)
            return torch.matmul(q, negatives.t()).gather(2, columns)

        with full_precision(first.device):
            first, second, negatives = at_least_fp32(first, second, negatives)
            pos = torch.einsum('npd,nqd->npq', first, second)
            forth = self.head.score(pos, against_others(first))
            back = self.head.score(pos.transpose(1, 2), against_others(second))
        return forth + back.transpose(1, 2)


def side_by_side(views: Sequence[Tensor]) -> Tensor:
    """Rows (N, ...) of each view as (V * N, ...), those of an image together."""
    if len(views) == 1:
        return views[0]
    return torch.stack(list(views), dim=1).flatten(0, 1)
