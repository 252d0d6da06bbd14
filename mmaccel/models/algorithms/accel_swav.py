"""Accel-SwAV: SwAV with a loss after every stage, exits and windows."""

from __future__ import annotations

import math
from functools import partial
from typing import Sequence

import torch
from mmselfsup.models.algorithms import SwAV
from mmselfsup.registry import MODELS
from mmselfsup.structures import SelfSupDataSample
from torch import Tensor

from ..necks import IntermediateNeck
from ..utils.checks import check_views
from ..utils.stages import Branch, run_stages
from .accel_base import AccelMixin, full_precision, widened


@MODELS.register_module()
class AccelSwAV(AccelMixin, SwAV):
    """SwAV with partial back-propagation and hard-pair selection, multi-crop included.

    One iteration, given the exit e: the views run to stage e, those of one size as one
    batch; between stages each view may be cut to its hardest window; the loss after
    stage e predicts each view's code from the others, with the prototypes and queue of
    stage e. With e the last stage and no windows this is upstream's ``SwAV``,
    operation by operation.

    Paper: Algorithm 1 and equations (3), (4); block-wise cluster centers from
    Appendix A.

    Args:
        backbone (dict): A ResNet-family backbone.
        neck (dict): An ``IntermediateNeck`` of ``SwAVNeck``.
        head (dict): An ``AccelSwAVHead``.
        crop_layer (dict, optional): A ``HardPairCropLayer``. Defaults to None.
        supervision (str): ``'exit'`` or ``'cumulative'``. Defaults to ``'exit'``.
        loss_weights (Sequence[float], optional): One an exit. Defaults to ones.
        channels_last (bool): Memory layout of weights and maps; the same result up to
            rounding, in less time. Defaults to False, as upstream.
        compile_stages (bool or str): Compile each stage with ``torch.compile``, by its
            default backend or the one named; the same result up to rounding. The first
            steps take minutes. Defaults to False.
        **kwargs: As upstream.

    Raises:
        ValueError: If parts do not fit together, naming the setting to change.
    """

    def __init__(
        self,
        *args,
        crop_layer: dict | None = None,
        supervision: str = 'exit',
        loss_weights: Sequence[float] | None = None,
        channels_last: bool = False,
        compile_stages: bool | str = False,
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._init_accel(
            crop_layer, supervision, loss_weights, channels_last, compile_stages
        )
        if self.crop_layer is not None and not hasattr(self.crop_layer, 'each'):
            raise ValueError(
                f"AccelSwAV cannot use {type(self.crop_layer).__name__}: an image's "
                'views go through the network apart; use crop_layer.type='
                "'HardPairCropLayer'"
            )
        loss = self.head.losses[-1]
        if (
            self.crop_layer is not None
            and max(loss.crops_for_assign) >= (loss.num_crops[0])
        ):
            raise ValueError(
                f'crops_for_assign={loss.crops_for_assign} assigns views behind the '
                f'first {loss.num_crops[0]}, whose maps are not there when windows are '
                'chosen; list the assigned views first, or set model.crop_layer=None'
            )

    def project(self, neck: IntermediateNeck, x: Tensor, stage: int) -> Tensor:
        """Project a map (N, C, H, W) after a stage; upstream's neck normalises."""
        return neck([(x,)], stage)[0]

    def loss(
        self, inputs: list[Tensor], data_samples: list[SelfSupDataSample], **kwargs
    ) -> dict[str, Tensor]:
        """Run one training iteration's forward pass.

        Args:
            inputs (list[Tensor]): Views, each (N, 3, H, W), the larger ones first.
            data_samples (list[SelfSupDataSample]): Not used.

        Returns:
            dict[str, Tensor]: ``loss_exit{e}`` for each supervised stage and, when
            the plan says so, what :meth:`measure` reports.

        Note:
            Updates the queues of the supervised stages. Sinkhorn sums over ranks.
        """
        check_views(inputs, sum(self.head.losses[-1].num_crops))
        plan = self.current_plan()
        groups = same_size(inputs)
        branches = [
            self.trained_branch(
                plan,
                start=partial(torch.cat, inputs[group.start : group.stop]),
                project=lambda x, stage: x,  # projected together, below
            )
            for group in groups
        ]
        generator, layer = plan.window_generator(), self.cropper(plan)

        def crop(stage: int, going_on: list[Branch]) -> None:
            whole = branches[0].x.mean(dim=(2, 3)).unsqueeze(1)  # (V * N, 1, C)
            loss = self.head.losses[stage - 1]
            z = self.project_windows(self.neck, whole, stage)[:, 0]
            with full_precision(z.device):
                codes = loss.codes(*widened(z), len(inputs[0]))
            for branch, group in zip(branches, groups):
                score = partial(self.score_windows, stage, group, codes)
                branch.x = layer.each(branch.x, score, generator)[0]

        run_stages(branches, self.crop_stages(plan), crop)

        losses: dict[str, Tensor] = {}
        for stage in branches[0].heads:
            z = self.neck([(branch.features[stage],) for branch in branches], stage)[0]
            with full_precision(z.device):
                (z,) = widened(z)
                loss = self.head(z, stage)
            losses[f'loss_exit{stage}'] = self.loss_weights[stage - 1] * loss
            if plan.measure:
                losses.update(self._measure(z, len(inputs[0]), stage))
        return losses

    def score_windows(
        self, stage: int, group: range, codes: list[Tensor], pooled: Tensor
    ) -> Tensor:
        """Loss of each candidate window of views of one size (equation 4).

        Args:
            stage (int): Stage the maps come from.
            group (range): Numbers of the views.
            codes (list[Tensor]): (N, K) codes, from whole maps.
            pooled (Tensor): (len(group) * N, M, C) windows, view by view.

        Returns:
            Tensor: (len(group) * N, M) losses.
        """
        z = self.project_windows(self.neck, pooled, stage)
        loss = self.head.losses[stage - 1]
        with full_precision(z.device):
            views = widened(*z.chunk(len(group)))
            return torch.cat([loss.score(z, v, codes) for v, z in zip(group, views)])

    def _measure(self, z: Tensor, count: int, stage: int) -> dict[str, Tensor]:
        """Similarity of two views of an image, and of views of different images."""
        first, second = z.detach()[: 2 * count].chunk(2)
        similarity = first @ second.t()
        other = ~torch.eye(count, dtype=torch.bool, device=z.device)
        chance = math.log(self.head.losses[stage - 1].prototypes.weight.size(0))
        return self.measure(first, similarity.diag(), similarity[other], stage, chance)


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
