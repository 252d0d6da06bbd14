"""Accel-MoCo: MoCo v1/v2 with a loss after every stage, exits and windows."""

from __future__ import annotations

import math
from functools import partial
from typing import Sequence

import torch
from mmselfsup.models.algorithms import MoCo
from mmselfsup.registry import MODELS
from mmselfsup.structures import SelfSupDataSample
from mmselfsup.utils import concat_all_gather
from torch import Tensor, nn

from ..utils.batch_shuffle import BatchShuffle
from ..utils.feature_queue import FeatureQueue
from ..utils.stages import Branch, run_stages, split_stages
from .accel_base import AccelMixin, check_views


@MODELS.register_module()
class AccelMoCo(AccelMixin, MoCo):
    """MoCo with partial back-propagation and hard-pair selection.

    One iteration, given the exit e: the query runs to stage e and stops; the keys
    run to the end (or to e); between stages both may be cut to their hardest pair of
    windows; the loss after stage e is InfoNCE against the queue of stage e; the new
    keys enter the queues last. With e the last stage and no windows this is
    upstream's ``MoCo``, operation by operation.

    Paper: Algorithm 1 and equations (3), (4); layer-wise queues from Appendix A.

    Args:
        backbone (dict): A ResNet-family backbone.
        neck (dict): An ``IntermediateNeck``.
        head (dict): An ``AccelContrastiveHead``.
        queue_len (int): Keys K in each queue, a multiple of the total batch.
            Defaults to 65536.
        feat_dim (int): Length of a projected vector. Defaults to 128.
        momentum (float): Momentum of the key encoder. Defaults to 0.999.
        crop_layer (dict, optional): A ``HardPairCropLayer``. Defaults to None.
        supervision (str): ``'exit'`` or ``'cumulative'``. Defaults to ``'exit'``.
        loss_weights (Sequence[float], optional): One an exit. Defaults to ones.
        key_forward (str): ``'full'`` runs the keys to the last stage and refreshes
            every queue; ``'truncated'`` stops them at the exit and refreshes the
            queues that the loss used. Defaults to ``'full'``.
        pretrained, data_preprocessor, init_cfg: As upstream.

    Raises:
        ValueError: If parts do not fit together, naming the setting to change.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict,
        head: dict,
        queue_len: int = 65536,
        feat_dim: int = 128,
        momentum: float = 0.999,
        crop_layer: dict | None = None,
        supervision: str = 'exit',
        loss_weights: Sequence[float] | None = None,
        key_forward: str = 'full',
        pretrained: str | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: list[dict] | dict | None = None,
    ) -> None:
        super().__init__(
            backbone=backbone,
            neck=neck,
            head=head,
            queue_len=queue_len,
            feat_dim=feat_dim,
            momentum=momentum,
            pretrained=pretrained,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
        self._init_accel(crop_layer, supervision, loss_weights)
        if key_forward not in ('full', 'truncated'):
            raise ValueError(
                f"key_forward={key_forward!r} is unknown; use 'full' or 'truncated'"
            )
        self.key_forward = key_forward
        del self.queue, self.queue_ptr  # upstream's single queue
        self.queues = nn.ModuleList(
            FeatureQueue(feat_dim, queue_len) for _ in range(self.num_exits)
        )

    @property
    def chance_level(self) -> float:
        """Loss of a model that cannot tell the positive from the K negatives."""
        return math.log(self.queue_len + 1)

    def loss(
        self, inputs: list[Tensor], data_samples: list[SelfSupDataSample], **kwargs
    ) -> dict[str, Tensor]:
        """Run one training iteration's forward pass.

        Args:
            inputs (list[Tensor]): Query and key images, each (N, 3, H, W).
            data_samples (list[SelfSupDataSample]): Not used.

        Returns:
            dict[str, Tensor]: ``loss_exit{e}`` for each supervised stage and, when
            the plan says so, what :meth:`measure` reports.

        Note:
            Updates the key encoder and the queues. Gathers keys over ranks.
        """
        check_views(inputs, 2)
        plan = self.current_plan()
        exit_stage = plan.exit_stage
        supervised = self.supervised(exit_stage)
        full_keys = self.key_forward == 'full'
        shuffle: list[BatchShuffle] = []

        @torch.no_grad()
        def key_images() -> Tensor:
            self.encoder_k.update_parameters(nn.Sequential(self.backbone, self.neck))
            images, drawn = BatchShuffle.draw(inputs[1])
            shuffle.append(drawn)
            return images

        key_backbone, key_neck = self.encoder_k.module
        query = Branch(
            stages=split_stages(self.backbone),
            start=lambda: inputs[0],
            project=partial(self.project, self.neck),
            stop=exit_stage,
            heads=supervised,
        )
        key = Branch(
            stages=split_stages(key_backbone),
            start=key_images,
            project=partial(self.project, key_neck),
            stop=self.num_exits if full_keys else exit_stage,
            heads=range(1, self.num_exits + 1) if full_keys else supervised,
            grad=False,
        )
        generator = plan.window_generator()

        def crop(stage: int, going_on: list[Branch]) -> None:
            if query not in going_on:  # behind the exit there is nothing to score with
                key.x, _ = self.crop_layer.random(key.x, generator)
                return
            pair = self.crop_layer(
                query.x,
                key.x,
                partial(self.score_windows, stage, shuffle[0]),
                generator,
                shuffle[0].to_keys,
            )
            query.x, key.x = pair.x_q, pair.x_k

        run_stages([query, key], self.crop_after, crop)

        losses: dict[str, Tensor] = {}
        keys = {stage: shuffle[0].to_images(k) for stage, k in key.features.items()}
        for stage in supervised:
            q, k = query.features[stage], keys[stage]
            pos = torch.einsum('nc,nc->n', q, k).unsqueeze(-1)
            # the queue changes before the backward pass reads it: hence the clone
            neg = torch.einsum('nc,ck->nk', q, self.queues[stage - 1].features.clone())
            weight = self.loss_weights[stage - 1]
            losses[f'loss_exit{stage}'] = weight * self.head(pos, neg)
            if plan.measure:
                losses.update(self.measure(q, pos, neg, stage, self.chance_level))
        for stage, k in keys.items():
            self.queues[stage - 1].enqueue(concat_all_gather(k))
        return losses

    def score_windows(
        self, stage: int, shuffle: BatchShuffle, pooled_q: Tensor, pooled_k: Tensor
    ) -> Tensor:
        """Loss of each pair of candidate windows after a stage (equation 4).

        Args:
            stage (int): Stage the maps come from.
            shuffle (BatchShuffle): Order of the keys.
            pooled_q (Tensor): (N, M, C) query windows.
            pooled_k (Tensor): (N, M, C) key windows, in the key encoder's order.

        Returns:
            Tensor: (N, M, M) losses in image order.
        """
        q = self.project_windows(self.neck, pooled_q, stage)
        k = self.project_windows(self.encoder_k.module[1], pooled_k, stage)
        pos = torch.einsum('npd,nqd->npq', q, shuffle.to_images(k))
        neg = torch.matmul(q, self.queues[stage - 1].features)
        return self.head.score(pos, neg)
