"""Accel-MoCo: MoCo v1/v2 with a loss after every stage, exits and windows."""

from __future__ import annotations

import math
from functools import partial
from typing import Sequence

import torch
from mmengine.dist import get_world_size
from mmselfsup.models.algorithms import MoCo
from mmselfsup.registry import MODELS
from mmselfsup.structures import SelfSupDataSample
from mmselfsup.utils import concat_all_gather
from torch import Tensor, nn

from ..utils.batch_shuffle import BatchShuffle
from ..utils.checks import check_queue_len, check_views
from ..utils.feature_queue import FeatureQueue
from ..utils.fused_ema import FusedEMA
from ..utils.stages import Branch, run_stages
from .accel_base import AccelMixin, full_precision, widened


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
        channels_last (bool): Memory layout of weights and maps; the same result up to
            rounding, in less time. Defaults to False, as upstream.
        compile_stages (bool or str): Compile each stage with ``torch.compile``, by its
            default backend or the one named; the same result up to rounding. The first
            steps take minutes. Defaults to False.
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
        channels_last: bool = False,
        compile_stages: bool | str = False,
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
        self.encoder_k = FusedEMA(nn.Sequential(self.backbone, self.neck), 1 - momentum)
        self._init_accel(
            crop_layer, supervision, loss_weights, channels_last, compile_stages
        )
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
            Updates the key encoder and the queues; those that a loss has read once
            the backward pass has read them, too. Gathers keys over ranks.
        """
        check_views(inputs, 2)
        check_queue_len(self.queue_len, len(inputs[0]), get_world_size())
        plan = self.current_plan()
        full_keys = self.key_forward == 'full'
        key_backbone, key_neck = self.encoder_k.module
        shuffle: BatchShuffle  # of the key images that are still on their way

        @torch.no_grad()
        def key_images() -> Tensor:
            nonlocal shuffle
            self.encoder_k.update_parameters(nn.Sequential(self.backbone, self.neck))
            images, shuffle = BatchShuffle.draw(inputs[1])
            return self.as_planned(images, plan)

        def project_keys(x: Tensor, stage: int) -> Tensor:
            return shuffle.to_images(self.project(key_neck, x, stage))

        query = self.trained_branch(
            plan, lambda: inputs[0], partial(self.project, self.neck)
        )
        key = Branch(
            stages=self.stages('key', key_backbone),
            start=key_images,
            project=project_keys,
            stop=self.num_exits if full_keys else plan.exit_stage,
            heads=range(1, self.num_exits + 1) if full_keys else query.heads,
            grad_from=None,
        )
        generator, layer = plan.window_generator(), self.cropper(plan)

        def crop(stage: int, going_on: list[Branch]) -> None:
            nonlocal shuffle
            order = shuffle.to_keys
            if query in going_on:
                score = partial(self.score_windows, stage, shuffle)
                pair = layer(query.x, key.x, score, generator, order)
                query.x = pair.x_q
            else:  # behind the exit there is no query to score against
                count = shuffle.num_images
                pair = layer.random(key.x, generator, order, count)
            key.x = pair.x_k
            if pair.kept is not None:
                shuffle = shuffle.subset(pair.kept)

        run_stages([query, key], self.crop_stages(plan), crop)

        losses: dict[str, Tensor] = {}
        for stage in query.heads:
            with full_precision(inputs[0].device):
                q, k = widened(query.features[stage], key.features[stage])
                pos = torch.einsum('nc,nc->n', q, k).unsqueeze(-1)
                neg = torch.einsum('nc,ck->nk', q, self.queues[stage - 1].features)
                loss = self.head(pos, neg)
            losses[f'loss_exit{stage}'] = self.loss_weights[stage - 1] * loss
            if plan.measure:
                losses.update(self.measure(q, pos, neg, stage, self.chance_level))
        for stage, k in key.features.items():
            self.queues[stage - 1].enqueue(
                concat_all_gather(k), reader=query.features.get(stage)
            )
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
        k = shuffle.to_images(k)
        with full_precision(q.device):
            q, k = widened(q, k)
            pos = torch.einsum('npd,nqd->npq', q, k)
            neg = torch.matmul(q, self.queues[stage - 1].features)
            return self.head.score(pos, neg)
