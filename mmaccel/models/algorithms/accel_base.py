"""What every accelerated algorithm shares: its exits, its settings, its checks."""

import logging
from abc import abstractmethod
from collections.abc import Collection, Container, Sequence
from functools import partial
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from mmaccel import host
from mmaccel.renamed import renamed

from ..necks import IntermediateNeck
from ..plan import StepPlan
from ..preprocessors import AccelDataPreprocessor
from ..utils.backbones import count_blocks
from ..utils.checks import (
    check_crop_stages,
    check_keeps_images,
    check_losses,
    check_neck,
    check_pair,
)
from ..utils.compiled import MODES, begin_step, compiled_stage
from ..utils.norms import running_statistics
from ..utils.stages import Stage, StagePass, counting_together, split_stages
from ..utils.views import same_size


class AccelAlgorithm(BaseModel):
    """A backbone whose stages have a loss each: exits and windows for an algorithm.

    The subclass says in its ``loss`` what runs and what a loss is; this class holds
    the plan of the step (handed over by ``PartialBackpropHook``), the crop layer and
    the settings, and rejects combinations that cannot work.

    Args:
        backbone (dict): Config of a ResNet of the host.
        neck (dict): Config of an ``IntermediateNeck``.
        head (dict): Config of a head of :mod:`mmaccel.models.heads`.
        crop_layer (dict, optional): A ``HardPairCropLayer`` or ``HardExampleLayer``.
            Defaults to None, no windows.
        loss_on (str): ``'exit'`` minimises the loss at the exit alone (paper,
            Algorithm 1); ``'cumulative'`` adds those of the stages before it, whose
            maps are computed anyway. Defaults to ``'exit'``.
        loss_weights (Sequence[float], optional): One weight per exit. Defaults to ones.
        channels_last (bool): Memory layout of weights and maps; the same result up to
            rounding, in less time on CPUs and tensor cores. Defaults to False, as
            upstream.
        compile_stages (bool or str): Compile each stage with ``torch.compile``, by its
            default backend or the one named; the same result up to rounding. With
            ``'reduce-overhead'`` each stage is recorded as CUDA graphs, which a GPU
            replays without waiting for the host. The first steps take minutes.
            Defaults to False.
        pretrained (str, optional): A checkpoint to start from. Defaults to None.
        data_preprocessor (dict, optional): An ``AccelDataPreprocessor``, with the same
            values, where it names no type or, without a scope,
            ``SelfSupDataPreprocessor``. Defaults to None.
        init_cfg (dict, optional): Of the weights' initialization. Defaults to None.

    Attributes:
        plan (StepPlan, optional): This step's plan. None trains the last exit.
        layout (torch.memory_format): Of weights and maps.

    Raises:
        ValueError: If parts do not fit together, naming the setting to change.
    """

    backbone: nn.Module
    neck: IntermediateNeck
    head: Any
    crop_layer: Any  # a layer of mmaccel.models.layers, or None

    @renamed(supervision='loss_on')
    def __init__(
        self,
        backbone: dict,
        neck: dict,
        head: dict,
        crop_layer: dict | None = None,
        loss_on: str = 'exit',
        loss_weights: Sequence[float] | None = None,
        channels_last: bool = False,
        compile_stages: bool | str = False,
        pretrained: str | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: Any = None,
    ) -> None:
        if pretrained is not None:
            init_cfg = dict(type='Pretrained', checkpoint=pretrained)
        preprocessor = dict(data_preprocessor or {})
        if preprocessor.get('type') in (None, 'SelfSupDataPreprocessor'):
            preprocessor['type'] = 'AccelDataPreprocessor'
        super().__init__(host.build(MODELS, preprocessor), init_cfg)
        self.backbone = host.build(MODELS, backbone)
        self.neck = host.build(MODELS, neck)
        self.head = host.build(MODELS, head)
        check_neck(self.neck, self.backbone)
        weights = (1.0,) * self.num_exits if loss_weights is None else loss_weights
        check_losses(loss_on, weights, self.num_exits)
        self.plan: StepPlan | None = None
        self.loss_on = loss_on
        self.loss_weights = tuple(weights)
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self.to(memory_format=self.layout)
        if isinstance(self.data_preprocessor, AccelDataPreprocessor):
            self.data_preprocessor.layout = self.layout
        self.compile_stages = compile_stages
        self._compiled: dict[str, list[Stage]] = {}
        self._warned = False
        self.crop_layer = None if crop_layer is None else host.build(MODELS, crop_layer)
        check_crop_stages(self.crop_after, self.num_exits)

    def forward(
        self,
        inputs: list[Tensor] | Tensor,
        data_samples: list[BaseDataElement] | None = None,
        mode: str = 'tensor',
    ) -> Any:
        """Compute losses, or the backbone's maps.

        Args:
            inputs (list[Tensor] or Tensor): Views (N, 3, H, W), or one batch of images.
            data_samples (list[BaseDataElement], optional): Not used.
            mode (str): ``'loss'`` or ``'tensor'``.

        Returns:
            dict[str, Tensor] or tuple[Tensor]: As :meth:`loss`, or as
            :meth:`extract_feat`.

        Raises:
            ValueError: For another mode: pretraining predicts nothing.
        """
        if mode == 'loss':
            if self.compile_stages in MODES:
                begin_step()
            return self.loss(inputs, data_samples)
        if mode == 'tensor':
            return self.extract_feat(inputs)
        raise ValueError(f"mode={mode!r} is not possible; use 'loss' or 'tensor'")

    def extract_feat(
        self, inputs: Sequence[Tensor] | Tensor, **_: Any
    ) -> tuple[Tensor, ...]:
        """The backbone's maps of the first view, or of a batch of images."""
        return self.backbone(inputs if isinstance(inputs, Tensor) else inputs[0])

    @abstractmethod
    def loss(self, inputs: Any, data_samples: Any, **_: Any) -> dict[str, Tensor]:
        """Run one training step's forward pass."""

    @property
    def num_exits(self) -> int:
        """Number of stages with a loss."""
        return self.neck.num_exits

    @property
    def num_blocks(self) -> int:
        """Number of residual blocks of the backbone."""
        return count_blocks(self.backbone)

    @property
    def crop_after(self) -> Sequence[int]:
        """Stages after which windows are cut; empty without a crop layer."""
        return () if self.crop_layer is None else self.crop_layer.after_stages

    def current_plan(self) -> StepPlan:
        """Return this step's plan, or the last exit's where no hook gave one."""
        if self.plan is not None:
            return self.plan
        if self.training and not self._warned:
            self._warned = True
            print_log(
                f'{type(self).__name__} runs without PartialBackpropHook: only the '
                'last exit is trained. Add custom_hooks=[dict(type='
                "'PartialBackpropHook', exit_probs=...)] to train all of them.",
                logger='current',
                level=logging.WARNING,
            )
        return StepPlan(exit_stage=self.num_exits)

    def loss_stages(self, plan: StepPlan) -> Sequence[int]:
        """Stages whose loss a step minimises."""
        cumulative = (plan.loss_on or self.loss_on) == 'cumulative'
        first = plan.first_stage if cumulative else plan.exit_stage
        return range(first, plan.exit_stage + 1)

    def stops(self, plan: StepPlan, last: int) -> list[int]:
        """Stages at which a step halts: where windows are cut, then the last to run."""
        cuts = self.crop_after if plan.windows else ()
        return [*sorted({stage for stage in cuts if stage < last}), last]

    def trained_pass(self, images: Tensor, plan: StepPlan, view: int = 0) -> StagePass:
        """Put images (N, C, H, W) before the backbone, recording what a plan trains."""
        stages = self.stages('query', self.backbone, plan.blocks, plan.folded_stages)
        x = self.resize_and_layout(images, plan.scale_of(view))
        return StagePass(stages, x, record_from=plan.first_stage)

    def check_pair(self, inputs: Sequence[Tensor] | Tensor) -> None:
        """Reject views that are neither a pair nor a pair and small ones (multi-crop).

        Raises:
            ConfigError: Naming the transform, or the crop layer, to change.
        """
        views = [inputs] if isinstance(inputs, Tensor) else inputs
        check_pair([(x.shape[-2], x.shape[-1]) for x in views])
        if len(views) > 2 and self.crop_layer is not None:
            check_keeps_images(
                type(self.crop_layer), f'{type(self).__name__} with multi-crop'
            )

    def project_small(
        self, views: Sequence[Tensor], plan: StepPlan, loss_stages: Container[int]
    ) -> dict[int, list[Tensor]]:
        """Project the small views of multi-crop after each stage with a loss.

        They stop at the exit, as the large ones do. No windows are cut from them: they
        are small crops already, and have no partner of their size.

        Args:
            views (Sequence[Tensor]): Each (N, 3, H, W); consecutive ones of one size
                are one batch, as SwAV's.
            plan (StepPlan): This step's.
            loss_stages (Container[int]): Stages with a loss.

        Returns:
            dict[int, list[Tensor]]: Stage to unit vectors (N, D) of each view; empty
            without views.
        """
        vectors: dict[int, list[Tensor]] = {}
        for group in same_size(views):
            images = torch.cat(list(views[group.start : group.stop]))
            small = self.trained_pass(images, plan, view=2)
            for stage, x in small.run_to(plan.exit_stage):
                if stage in loss_stages:
                    z = self.project(self.neck, x, stage)
                    vectors.setdefault(stage, []).extend(z.chunk(len(group)))
        return vectors

    def resize_and_layout(self, images: Tensor, scale: float) -> Tensor:
        """Images (N, C, H, W) in the size and layout that the network is to see."""
        if scale != 1:
            size = [max(1, round(scale * s)) for s in images.shape[2:]]
            images = nn.functional.interpolate(
                images, size, mode='bilinear', antialias=True
            )
        return images.contiguous(memory_format=self.layout)

    def stages(
        self,
        name: str,
        backbone: nn.Module,
        blocks: Collection[int] | None = None,
        folded: int = 0,
    ) -> list[Stage]:
        """Cut a backbone into stages, each compiled where that is asked for.

        One graph per stage serves every exit; one graph per exit would compile the
        early stages again for each. Schemes that give single blocks a gradient, and
        folded stages, run as they are, and so does evaluation.

        Args:
            name (str): Under which compiled stages are kept.
            backbone (nn.Module): As of :func:`split_stages`.
            blocks (Collection[int], optional): As of :func:`split_stages`.
            folded (int): As of :func:`split_stages`. Defaults to 0.
        """
        backend = self.compile_stages
        compiled = bool(backend) and self.training and blocks is None
        plain = split_stages(backbone, blocks, folded)
        if not compiled:
            return [counting_together(stage) for stage in plain]
        if name not in self._compiled:
            self._compiled[name] = [
                counting_together(
                    stage,
                    partial(compiled_stage, name=f'{name}_stage{i}', backend=backend),
                )
                for i, stage in enumerate(split_stages(backbone), 1)
            ]
        first = [counting_together(stage) for stage in plain[:folded]]
        return [*first, *self._compiled[name][folded:]]

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
