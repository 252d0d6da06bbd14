"""Accel-MoCo: MoCo v1/v2 with a loss after every stage, exits and windows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import torch
from mmengine.dist import get_world_size
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from mmaccel import host

from ..necks import IntermediateNeck
from ..plan import StepPlan
from ..utils.batch_shuffle import BatchShuffle
from ..utils.checks import check_queue_len
from ..utils.feature_queue import FeatureQueue
from ..utils.fused_ema import FusedEMA
from ..utils.negatives import age_gap, similarity_to_others
from ..utils.precision import at_least_fp32, full_precision
from ..utils.representation import pair_statistics
from ..utils.stages import StagePass
from .accel_base import AccelAlgorithm


@MODELS.register_module()
class AccelMoCo(AccelAlgorithm):
    """MoCo with partial back-propagation and hard-pair selection.

    With the last exit and no windows this is upstream's ``MoCo``, operation by
    operation.

    A pipeline that gives more than two views, the further ones smaller, trains with
    multi-crop (Caron et al. 2020, Section 3.2; not in the paper): the small views are
    queries too, each against the key of the second view, and a stage's loss is the
    mean over its queries. Keys are of large views alone, one per image.

    Paper: Algorithm 1 and equations (3), (4); layer-wise queues from Appendix A.

    Args:
        *args: As of :class:`AccelAlgorithm`, the head an ``AccelContrastiveHead``.
        queue_len (int): Keys K of each stage's queue. Defaults to 65536.
        feat_dim (int): Length D of the vectors. Defaults to 128.
        momentum (float, optional): Of the key encoder, as the config's host means it:
            the share kept of the old weights in MMSelfSup (0.999), the share taken
            from the new ones in MMPretrain (0.001). Defaults to these.
        key_forward (str): ``'full'`` runs the keys to the last stage and refreshes
            every queue; ``'truncated'`` stops them at the exit and refreshes the
            queues that the loss used. Defaults to ``'full'``.
        negatives (str or Sequence[str]): ``'queue'``, as upstream, or ``'batch'``, the
            other images' keys of the same step on all ranks; one for all exits, or one
            per exit. Keys of one age cannot be told apart by their age, as those of a
            queue can while the key encoder moves. Not in the paper. Defaults to
            ``'queue'``.
        crop_layer, loss_on, loss_weights, channels_last, compile_stages: As of
            :class:`AccelAlgorithm`.
        **kwargs: As of :class:`AccelAlgorithm`.

    Raises:
        ValueError: If parts do not fit together, naming the setting to change.
    """

    encoder_k: FusedEMA
    two_sizes = True  # a step may give query and keys a size each

    def __init__(
        self,
        *args: Any,
        queue_len: int = 65536,
        feat_dim: int = 128,
        momentum: float | None = None,
        key_forward: str = 'full',
        negatives: str | Sequence[str] = 'queue',
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        if isinstance(negatives, str):
            negatives = (negatives,) * self.num_exits
        if len(negatives) != self.num_exits or set(negatives) - {'queue', 'batch'}:
            raise ValueError(
                f"negatives={negatives!r} is not possible; use 'queue' or 'batch', or "
                f'a list of {self.num_exits} of them, one per exit'
            )
        self.negatives = tuple(negatives)
        if key_forward not in ('full', 'truncated'):
            raise ValueError(
                f"key_forward={key_forward!r} is unknown; use 'full' or 'truncated'"
            )
        self.key_forward = key_forward
        encoder = nn.Sequential(self.backbone, self.neck)
        self.encoder_k = FusedEMA(encoder, host.current().update_rate(momentum))
        self.queue_len = queue_len
        queues = [FeatureQueue(feat_dim, queue_len) for _ in range(self.num_exits)]
        self.queues = cast(Sequence[FeatureQueue], nn.ModuleList(queues))

    def loss(
        self, inputs: list[Tensor], data_samples: list[BaseDataElement], **_: Any
    ) -> dict[str, Tensor]:
        """Run one training step's forward pass (paper, Algorithm 1).

        Args:
            inputs (list[Tensor]): Query and key images, each (N, 3, H, W), then any
                number of small views.
            data_samples (list[BaseDataElement]): Not used.

        Returns:
            dict[str, Tensor]: ``loss_exit{i}`` for each stage i with a loss and, when
            the plan says so, what :func:`pair_statistics` reports and, where negatives
            are queued, ``age_gap_exit{i}`` (:func:`age_gap`).

        Note:
            Updates the key encoder and the queues; those that a loss has read once
            the backward pass has read them, too. Gathers keys over ranks.
        """
        self.check_pair(inputs)
        if 'queue' in self.negatives:
            check_queue_len(self.queue_len, len(inputs[0]), get_world_size())
        plan = self.current_plan()
        loss_stages = self.loss_stages(plan)
        refreshed = self.queue_stages if self.key_forward == 'full' else ()
        key_stages = sorted({*loss_stages, *refreshed})
        generator = plan.window_generator()
        q: dict[int, Tensor] = {}  # stage to unit vectors (N, D), in image order
        k = KeyVectors()

        query = self.trained_pass(inputs[0], plan)
        for i, stop in enumerate(self.stops(plan, last=key_stages[-1])):
            for stage, x in query.run_to(min(stop, plan.exit_stage)):
                if stage in loss_stages:
                    q[stage] = self.project(self.neck, x, stage)

            with torch.no_grad():
                if i == 0:  # once the query's first stages have run, as upstream
                    key, shuffle = self.start_keys(inputs[1], plan)
                for stage, x in key.run_to(stop):
                    if stage in key_stages:
                        k.add(stage, self.project(self.key_neck, x, stage), shuffle)

            if stop == key_stages[-1]:
                break
            if stop < plan.exit_stage:  # pass on the hardest pair of windows
                score = partial(self.score_windows, stop, shuffle, key.x)
                pair = self.crop_layer(
                    query.x, key.x, score, generator, shuffle.to_keys
                )
                query.x, key.x = pair.x_q, pair.x_k
            else:  # only the keys go on: there is no query to score them against
                pair = self.crop_layer.random(
                    key.x, generator, shuffle.to_keys, shuffle.num_images
                )
                key.x = pair.x_k
            if pair.kept is not None:
                shuffle = shuffle.subset(pair.kept)

        queries = dict(q)
        small = self.project_small(inputs[2:], plan, loss_stages)
        for stage, vectors in small.items():  # (N, views, D)
            queries[stage] = torch.stack((q[stage], *vectors), dim=1)

        own, gathered = k.gather()
        losses: dict[str, Tensor] = {}
        for stage in loss_stages:
            with full_precision(q[stage].device):
                z_q, z_k, keys = at_least_fp32(
                    queries[stage], own[stage], gathered[stage]
                )
                pos = torch.einsum('n...c,nc->n...', z_q, z_k).reshape(-1, 1)
                neg = self.against_negatives(z_q, stage, keys).flatten(0, -2)
                loss = self.head(pos, neg)  # (N * views, 1) and (N * views, K)
                losses[f'loss_exit{stage}'] = self.loss_weights[stage - 1] * loss
                if plan.measure:
                    chance = self.head.chance(neg.size(1))
                    losses.update(pair_statistics(q[stage], pos, neg, stage, chance))
                    if self.negatives[stage - 1] == 'queue':
                        oldest = self.queues[stage - 1].oldest(len(keys))
                        losses[f'age_gap_exit{stage}'] = age_gap(z_q, keys, oldest)

        for stage in key_stages:
            if self.negatives[stage - 1] == 'queue':
                queue = self.queues[stage - 1]
                queue.enqueue(gathered[stage], reader=queries.get(stage))
        return losses

    def against_negatives(self, q: Tensor, stage: int, keys: Tensor | None) -> Tensor:
        """Similarities of queries to the negatives of a stage.

        Args:
            q (Tensor): (N, ..., D) unit vectors, row n of image n of this rank.
            stage (int): Stage they come from.
            keys (Tensor, optional): (B, D) keys of this step, of all ranks, where the
                stage's negatives are those of the batch.

        Returns:
            Tensor: (N, ..., K), or (N, ..., B - 1) of the other images' keys.
        """
        if self.negatives[stage - 1] == 'queue':
            return torch.matmul(q, self.queues[stage - 1].features)
        assert keys is not None
        return similarity_to_others(q, *at_least_fp32(keys))

    @property
    def queue_stages(self) -> list[int]:
        """Stages whose negatives are a queue."""
        return [i for i, kind in enumerate(self.negatives, 1) if kind == 'queue']

    @property
    def key_neck(self) -> IntermediateNeck:
        """Projectors of the key encoder."""
        return self.encoder_k.module[1]

    def start_keys(
        self, images: Tensor, plan: StepPlan
    ) -> tuple[StagePass, BatchShuffle]:
        """Move the key encoder, shuffle its images over ranks, put them before it."""
        self.encoder_k.update_parameters(nn.Sequential(self.backbone, self.neck))
        images, shuffle = BatchShuffle.draw(images)
        stages = self.stages('key', self.encoder_k.module[0], folded=plan.folded_stages)
        return StagePass(
            stages, self.resize_and_layout(images, plan.scale_of(1))
        ), shuffle

    def score_windows(
        self,
        stage: int,
        shuffle: BatchShuffle,
        maps_k: Tensor,
        pooled_q: Tensor,
        pooled_k: Tensor,
    ) -> Tensor:
        """Loss of each pair of candidate windows after a stage (equation 4).

        Args:
            stage (int): Stage the maps come from.
            shuffle (BatchShuffle): Order of the keys.
            maps_k (Tensor): (N, C, H, W) whole key maps, in the key encoder's order.
            pooled_q (Tensor): (N, M, C) query windows.
            pooled_k (Tensor): (N, M, C) key windows, in the key encoder's order.

        Returns:
            Tensor: (N, M, M) losses in image order.
        """
        q = self.project_windows(self.neck, pooled_q, stage)
        k = shuffle.to_images(self.project_windows(self.key_neck, pooled_k, stage))
        keys = None
        if self.negatives[stage - 1] == 'batch':
            whole = maps_k.mean(dim=(2, 3)).unsqueeze(1)  # (N, 1, C)
            z = self.project_windows(self.key_neck, whole, stage)
            _, keys = shuffle.to_every_image(z[:, 0])
        with full_precision(q.device):
            q, k = at_least_fp32(q, k)
            pos = torch.einsum('npd,nqd->npq', q, k)
            return self.head.score(pos, self.against_negatives(q, stage, keys))


class KeyVectors:
    """Key vectors of several stages, brought back to image order together."""

    def __init__(self) -> None:
        self._groups: list[tuple[BatchShuffle, dict[int, Tensor]]] = []

    def add(self, stage: int, z: Tensor, shuffle: BatchShuffle) -> None:
        """Keep a stage's vectors (R, D), in the order of the key encoder.

        Args:
            stage (int): Stage they come from.
            z (Tensor): The vectors.
            shuffle (BatchShuffle): That order. Images that are dropped between stages
                change it.
        """
        if not self._groups or self._groups[-1][0] is not shuffle:
            self._groups.append((shuffle, {}))
        self._groups[-1][1][stage] = z

    def gather(self) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
        """Vectors (N, D) of this rank's images and (B, D) of all ranks', by stage.

        Note:
            One gathering over ranks for all stages of one order.
        """
        own: dict[int, Tensor] = {}
        every: dict[int, Tensor] = {}
        for shuffle, vectors in self._groups:
            rows = torch.stack(list(vectors.values()), dim=1)  # (R, stages, D)
            own_rows, every_row = shuffle.to_every_image(rows)
            own.update(zip(vectors, own_rows.unbind(1)))
            every.update(zip(vectors, every_row.unbind(1)))
        return own, every
