"""What every accelerated algorithm shares: its plan, its exits, its checks."""

from __future__ import annotations

import logging
from typing import Any, Callable, Collection, Sequence

import torch
from mmengine.logging import print_log
from mmselfsup.registry import MODELS
from torch import Tensor, nn

from ..necks import IntermediateNeck
from ..plan import StepPlan
from ..utils.norms import running_statistics
from ..utils.representation import effective_rank, feature_std
from ..utils.stages import (
    Branch,
    Stage,
    count_blocks,
    split_stages,
    stage_channels,
)


class AccelMixin:
    """Exits and windows for an upstream algorithm, to be mixed in before it.

    The subclass says which branches run and what a loss is; this class holds the
    plan of the iteration (handed over by ``PartialBackpropHook``), the crop layer
    and the supervision, and refuses combinations that cannot work.

    Attributes:
        plan (StepPlan, optional): This iteration's plan. None trains the last exit.
        num_exits (int): Number of stages with a loss.
        supervision (str): ``'exit'`` minimises the loss at the exit alone (paper,
            Algorithm 1); ``'cumulative'`` adds those of the stages before it, whose
            maps the branch passes anyway.
        loss_weights (tuple[float]): Weight of each exit's loss.
        crop_layer (HardPairCropLayer, optional): Cuts windows between stages.
        layout (torch.memory_format): Of weights and maps. ``channels_last`` computes
            the same, up to rounding, and is faster on CPUs and on tensor cores.
    """

    backbone: nn.Module
    neck: IntermediateNeck
    plan: StepPlan | None
    crop_layer: Any  # a layer of mmaccel.models.layers, or None
    training: bool
    to: Callable[..., Any]

    def _init_accel(
        self,
        crop_layer: dict | None,
        supervision: str,
        loss_weights: Sequence[float] | None,
        channels_last: bool,
        compile_stages: bool | str,
    ) -> None:
        """Build and check the accelerated parts, once upstream's are built."""
        name = type(self).__name__
        if not isinstance(self.neck, IntermediateNeck):
            raise ValueError(
                f'{name} needs a projector an exit; '
                "set model.neck.type='IntermediateNeck'"
            )
        channels = tuple(stage_channels(self.backbone))
        if self.neck.in_channels != channels:
            raise ValueError(
                f'the neck expects in_channels={self.neck.in_channels} but the stages '
                f'of this {type(self.backbone).__name__} give {channels}; '
                f'set model.neck.in_channels={channels}'
            )
        if supervision not in ('exit', 'cumulative'):
            raise ValueError(
                f"supervision={supervision!r} is unknown; use 'exit' or 'cumulative'"
            )
        weights = (1.0,) * self.num_exits if loss_weights is None else loss_weights
        if len(weights) != self.num_exits:
            raise ValueError(
                f'loss_weights has {len(weights)} values for {self.num_exits} exits; '
                'give one an exit'
            )
        self.plan = None
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self.to(memory_format=self.layout)
        self.compile_stages = compile_stages
        self._compiled: dict[str, list[Stage]] = {}
        self.supervision = supervision
        self.loss_weights = tuple(weights)
        self.crop_layer = None if crop_layer is None else MODELS.build(crop_layer)
        late = [s for s in self.crop_after if s >= self.num_exits]
        if late:
            raise ValueError(
                f'crop_layer.after_stages={self.crop_after} has a window after stage '
                f'{late[0]}, the last of {self.num_exits}, where nothing follows that '
                f'could use it; use stages 1 to {self.num_exits - 1}'
            )

    @property
    def num_exits(self) -> int:
        """Number of stages with a loss."""
        return self.neck.num_exits

    @property
    def crop_after(self) -> Sequence[int]:
        """Stages after which windows are cut; empty without a crop layer."""
        return () if self.crop_layer is None else self.crop_layer.after_stages

    def crop_stages(self, plan: StepPlan) -> Sequence[int]:
        """Stages after which an iteration cuts windows."""
        return self.crop_after if plan.windows else ()

    def cropper(self, plan: StepPlan) -> Any:
        """Crop layer as an iteration wants it, None where there is none."""
        as_it_is = plan.select is None and plan.crop_ratio is None
        if as_it_is or self.crop_layer is None:
            return self.crop_layer
        return self.crop_layer.changed(plan.select, plan.crop_ratio)

    def as_planned(self, images: Tensor, plan: StepPlan) -> Tensor:
        """Images (N, C, H, W) in the size and layout that the network is to see."""
        if plan.view_scale != 1:
            size = [max(1, round(plan.view_scale * s)) for s in images.shape[2:]]
            images = nn.functional.interpolate(
                images, size, mode='bilinear', antialias=True
            )
        return images.contiguous(memory_format=self.layout)

    def current_plan(self) -> StepPlan:
        """Return this iteration's plan, or the last exit's where no hook gave one."""
        if self.plan is not None:
            return self.plan
        if self.training and not getattr(self, '_warned', False):
            self._warned = True
            print_log(
                f'{type(self).__name__} runs without PartialBackpropHook: only the '
                'last exit is trained. Add custom_hooks=[dict(type='
                "'PartialBackpropHook', exit_probs=...)] to train all of them.",
                logger='current',
                level=logging.WARNING,
            )
        return StepPlan(exit_stage=self.num_exits)

    def supervised(self, plan: StepPlan) -> Sequence[int]:
        """Stages whose loss is minimised in an iteration."""
        cumulative = (plan.supervision or self.supervision) == 'cumulative'
        first = plan.first_stage if cumulative else plan.exit_stage
        return range(first, plan.exit_stage + 1)

    @property
    def num_blocks(self) -> int:
        """Number of residual blocks of the backbone."""
        return count_blocks(self.backbone)

    def trained_branch(
        self, plan: StepPlan, start: Callable[[], Tensor], project: Callable
    ) -> Branch:
        """Make a branch through the backbone that a plan trains.

        Args:
            plan (StepPlan): Says where it stops and what gets a gradient.
            start (Callable): Gives the images.
            project (Callable): As of :class:`Branch`.
        """
        return Branch(
            stages=self.stages('query', self.backbone, plan.blocks),
            start=lambda: self.as_planned(start(), plan),
            project=project,
            stop=plan.exit_stage,
            heads=self.supervised(plan),
            grad_from=plan.first_stage,
        )

    def stages(
        self, name: str, backbone: nn.Module, blocks: Collection[int] | None = None
    ) -> list[Stage]:
        """Cut a backbone into stages, each compiled where that is asked for.

        One graph a stage serves every exit; a graph an exit would compile the early
        stages again for each. Schemes that give single blocks a gradient run as they
        are, and so does evaluation.

        Args:
            name (str): Of the branch, under which compiled stages are kept.
            backbone (nn.Module): As of :func:`split_stages`.
            blocks (Collection[int], optional): As of :func:`split_stages`.
        """
        if not self.compile_stages or not self.training or blocks is not None:
            return split_stages(backbone, blocks)
        if name not in self._compiled:
            backend = self.compile_stages
            options = {} if backend is True else {'backend': backend}
            self._compiled[name] = [
                torch.compile(stage, dynamic=False, **options)
                for stage in split_stages(backbone)
            ]
        return self._compiled[name]

    def unit(self, z: Tensor) -> Tensor:
        """Normalise vectors (N, D) to unit length, as the upstream algorithm does."""
        return nn.functional.normalize(z, dim=1)

    def project(self, neck: IntermediateNeck, x: Tensor, stage: int) -> Tensor:
        """Project a map (N, C, H, W) after a stage to unit vectors (N, D)."""
        return self.unit(neck((x,), stage)[0])

    @torch.no_grad()
    def project_windows(
        self, neck: IntermediateNeck, pooled: Tensor, stage: int
    ) -> Tensor:
        """Project pooled windows (N, M, C) to unit vectors (N, M, D).

        Note:
            Records no gradient and changes no buffer: batch norms use their running
            statistics.
        """
        cells = pooled.flatten(0, 1)[..., None, None]  # (N * M, C, 1, 1)
        with running_statistics(neck):
            vectors = self.project(neck, cells, stage)
        # older torch, 2.0 for one, hands these casts of the weights, made without a
        # gradient, to the loss as well, and would leave the projector untrained
        torch.clear_autocast_cache()
        return vectors.unflatten(0, pooled.shape[:2])

    @staticmethod
    @torch.no_grad()
    def measure(
        z: Tensor, pos: Tensor, neg: Tensor, stage: int, chance: float
    ) -> dict[str, Tensor]:
        """Report how similar pairs are and whether features collapse.

        Args:
            z (Tensor): Unit vectors (N, D) of one branch.
            pos (Tensor): Positive similarities.
            neg (Tensor): Negative similarities.
            stage (int): Exit they belong to.
            chance (float): Loss of a model that cannot tell positives from negatives.
        """
        return {
            f'pos_sim_exit{stage}': pos.float().mean(),
            f'neg_sim_exit{stage}': neg.float().mean(),
            f'feat_std_exit{stage}': feature_std(z),
            f'eff_rank_exit{stage}': effective_rank(z),
            'chance': torch.tensor(chance),
        }


def full_precision(device: torch.device) -> torch.autocast:
    """Leave mixed precision: similarities, losses and codes are computed in fp32.

    bfloat16 has 8 bits for a similarity that is divided by a temperature of 0.1.
    """
    return torch.autocast(device.type, enabled=False)


def widened(*vectors: Tensor) -> list[Tensor]:
    """Vectors of a 16-bit type as fp32, others as they are."""
    return [x.float() if x.element_size() < 4 else x for x in vectors]
