"""Accel-SwAV: SwAV with a loss after every stage, exits and windows."""

import math
from functools import partial
from typing import Any

import torch
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement
from torch import Tensor

from ..necks import IntermediateNeck
from ..utils.checks import check_keeps_images, check_views
from ..utils.precision import at_least_fp32, full_precision
from ..utils.representation import pair_statistics
from ..utils.views import same_size
from .accel_base import AccelAlgorithm


@MODELS.register_module()
class AccelSwAV(AccelAlgorithm):
    """SwAV with partial back-propagation and hard-pair selection, multi-crop included.

    With the last exit and no windows this is upstream's ``SwAV``, operation by
    operation.

    Paper: Algorithm 1 and equations (3), (4); block-wise cluster centers from
    Appendix A.

    Args:
        *args: As of :class:`AccelAlgorithm`, with an ``IntermediateNeck`` of
            ``SwAVNeck`` and an ``AccelSwAVHead``.
        crop_layer, loss_on, loss_weights, channels_last, compile_stages: As of
            :class:`AccelAlgorithm`.
        **kwargs: As of :class:`AccelAlgorithm`.

    Raises:
        ValueError: If parts do not fit together, naming the setting to change.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.crop_layer is not None:
            check_keeps_images(type(self.crop_layer), 'AccelSwAV')
        loss = self.head.losses[-1]
        if (
            self.crop_layer is not None
            and max(loss.crops_for_assign) >= (loss.num_crops[0])
        ):
            raise ValueError(
                f'crops_for_assign={loss.crops_for_assign} assigns views after the '
                f'first {loss.num_crops[0]}, whose maps are not there when windows are '
                'chosen; list the assigned views first, or set model.crop_layer=None'
            )

    def project(self, neck: IntermediateNeck, x: Tensor, stage: int) -> Tensor:
        """Project a map (N, C, H, W) after a stage; upstream's neck normalises."""
        return neck([(x,)], stage)[0]

    def loss(
        self, inputs: list[Tensor], data_samples: list[BaseDataElement], **_: Any
    ) -> dict[str, Tensor]:
        """Run one training step's forward pass (paper, Algorithm 1).

        Args:
            inputs (list[Tensor]): Views, each (N, 3, H, W), the larger ones first.
            data_samples (list[BaseDataElement]): Not used.

        Returns:
            dict[str, Tensor]: ``loss_exit{i}`` for each stage i with a loss and, when
            the plan says so, what :func:`pair_statistics` reports.

        Note:
            Updates the queues of the stages with a loss. Sinkhorn sums over ranks.
        """
        check_views(inputs, sum(self.head.losses[-1].num_crops))
        plan = self.current_plan()
        loss_stages = self.loss_stages(plan)
        generator = plan.window_generator()
        count = len(inputs[0])
        maps: dict[int, list[Tensor]] = {stage: [] for stage in loss_stages}

        groups = same_size(inputs)  # views of one size are one batch
        passes = [
            self.trained_pass(torch.cat(inputs[group.start : group.stop]), plan)
            for group in groups
        ]
        for stop in self.stops(plan, last=plan.exit_stage):
            for views in passes:
                for stage, x in views.run_to(stop):
                    if stage in loss_stages:
                        maps[stage].append(x)
            if stop < plan.exit_stage:  # pass on the hardest window of each view
                codes = self.whole_codes(stop, passes[0].x, count)
                for views, group in zip(passes, groups):
                    score = partial(self.score_windows, stop, group, codes)
                    views.x = self.crop_layer.crop_each(views.x, score, generator)

        losses: dict[str, Tensor] = {}
        for stage in loss_stages:
            z = self.neck([(x,) for x in maps[stage]], stage)[0]  # (V * N, D)
            with full_precision(z.device):
                (z,) = at_least_fp32(z)
                loss = self.head(z, stage)
            losses[f'loss_exit{stage}'] = self.loss_weights[stage - 1] * loss
            if plan.measure:
                losses.update(self._measure(z, count, stage))
        return losses

    def whole_codes(self, stage: int, maps: Tensor, count: int) -> Tensor:
        """Codes (A, N, K) of the assigned views, from whole maps after a stage.

        Args:
            stage (int): Stage the maps come from.
            maps (Tensor): (V * N, C, H, W) of the largest views, view by view.
            count (int): Images N.
        """
        pooled = maps.detach().mean(dim=(2, 3)).unsqueeze(1)  # (V * N, 1, C)
        z = self.project_windows(self.neck, pooled, stage)[:, 0]
        with full_precision(z.device):
            return self.head.losses[stage - 1].codes(*at_least_fp32(z), count)

    def score_windows(
        self, stage: int, group: range, codes: Tensor, pooled: Tensor
    ) -> Tensor:
        """Loss of each candidate window of views of one size (equation 4).

        Args:
            stage (int): Stage the maps come from.
            group (range): Numbers of the views.
            codes (Tensor): (A, N, K), from whole maps.
            pooled (Tensor): (len(group) * N, M, C) windows, view by view.

        Returns:
            Tensor: (len(group) * N, M) losses.
        """
        z = self.project_windows(self.neck, pooled, stage)
        loss = self.head.losses[stage - 1]
        with full_precision(z.device):
            views = at_least_fp32(*z.chunk(len(group)))
            return torch.cat([loss.score(z, v, codes) for v, z in zip(group, views)])

    def _measure(self, z: Tensor, count: int, stage: int) -> dict[str, Tensor]:
        """Similarity of two views of an image, and of views of different images."""
        first, second = z.detach()[: 2 * count].chunk(2)
        similarity = first @ second.t()
        other = ~torch.eye(count, dtype=torch.bool, device=z.device)
        chance = math.log(self.head.losses[stage - 1].prototypes.weight.size(0))
        return pair_statistics(
            first, similarity.diag(), similarity[other], stage, chance
        )
