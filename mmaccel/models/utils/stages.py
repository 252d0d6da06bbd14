"""The stage loop: backbones cut into stages, and branches that run through them."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Callable, Collection, Sequence

import torch
from torch import Tensor, nn

Stage = Callable[[Tensor], Tensor]


def stage_names(backbone: nn.Module) -> list[str]:
    """Names of a ResNet-family backbone's stages: ``['layer1', ..., 'layerN']``.

    Raises:
        ValueError: If the backbone has fewer than two such modules.
    """
    names: list[str] = []
    while hasattr(backbone, f'layer{len(names) + 1}'):
        names.append(f'layer{len(names) + 1}')
    if len(names) < 2:
        raise ValueError(
            f'{type(backbone).__name__} has no stages named layer1, layer2, ...; '
            'use a ResNet-family backbone (ResNet, ResNetV1d, ResNeXt, ResNet_CIFAR)'
        )
    return names


def split_stages(
    backbone: nn.Module, blocks: Collection[int] | None = None
) -> list[Stage]:
    """Cut a backbone into its stages, the stem being part of the first.

    The first stage is upstream's own ``forward`` run on a shallow view of the
    backbone in which the later stages are identities, so no forward is written a
    second time and every stem works. The views share all parameters, buffers and
    modules; the backbone itself is not changed. Composing the stages equals
    ``backbone(x)[-1]``.

    Args:
        backbone (nn.Module): Any class with a stem and ``layer1`` ... ``layerN``
            whose forward returns its last map (or a tuple that ends with it).
        blocks (Collection[int], optional): Residual blocks, counted from 0 through the
            network, that get a gradient; the residual branches of the others are
            computed without one. Defaults to all.

    Returns:
        list[Callable]: N functions from a map (N, C, H, W) to the next.
    """
    names = stage_names(backbone)
    stages = [getattr(backbone, name) for name in names]
    if blocks is not None:
        first_block = 0
        for i, stage in enumerate(stages):
            stages[i] = _train_only(stage, blocks, first_block)
            first_block += len(stage)
    first = view_with(
        backbone, {names[0]: stages[0], **{name: nn.Identity() for name in names[1:]}}
    )

    def stem_and_first(x: Tensor) -> Tensor:
        out = first(x)
        return out[-1] if isinstance(out, (tuple, list)) else out

    return [stem_and_first, *stages[1:]]


def view_with(module: nn.Module, children: dict[str, nn.Module]) -> nn.Module:
    """Shallow copy of a module in which some children are others.

    Parameters, buffers and all other children are shared; the module is not changed.
    """
    view = copy.copy(module)
    view._modules = {**module._modules, **children}
    return view


class _WithoutGradient(nn.Module):
    """A module's forward pass, unrecorded."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self._modules['module'] = module

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return self._modules['module'](x)


def _train_only(
    stage: nn.Module, blocks: Collection[int], first_block: int
) -> nn.Module:
    """View of a stage in which only some blocks' residual branches get a gradient."""
    children = {
        name: block if first_block + i in blocks else _shortcut_only(block)
        for i, (name, block) in enumerate(stage.named_children())
    }
    return view_with(stage, children)


def _shortcut_only(block: nn.Module) -> nn.Module:
    """View of a residual block whose gradient passes along the shortcut alone."""
    residual = {
        name: _WithoutGradient(child)
        for name, child in block.named_children()
        if name != 'downsample' and next(child.parameters(), None) is not None
    }
    return view_with(block, residual)


def count_blocks(backbone: nn.Module) -> int:
    """Number of residual blocks of a backbone."""
    return sum(len(getattr(backbone, name)) for name in stage_names(backbone))


def stage_channels(backbone: nn.Module) -> list[int]:
    """Output channels of every stage, read from each stage's last normalisation.

    Residual blocks of every ResNet flavour end with a batch or group norm on the
    block's output.
    """
    channels = []
    for name in stage_names(backbone):
        last_block = list(getattr(backbone, name).children())[-1]
        declared = getattr(last_block, 'out_channels', None)
        if declared is None:
            norms = [m for m in last_block.modules() if hasattr(m, 'num_features')]
            declared = norms[-1].num_features
        channels.append(int(declared))
    return channels


@dataclass
class Branch:
    """Images on their way through a network, stage by stage.

    Args:
        stages (Sequence[Callable]): From :func:`split_stages`.
        start (Callable[[], Tensor]): Gives the images (N, C, H, W); called when the
            branch takes its first stage.
        project (Callable[[Tensor, int], Tensor]): Map after a stage, and the stage's
            number, to L2-normalised vectors (N, D).
        stop (int): Last stage to run. Nothing behind it is computed.
        heads (Collection[int]): Stages after which ``project`` is applied.
        grad_from (int, optional): First stage that autograd records; None records
            nothing. Defaults to 1.

    Attributes:
        x (Tensor): The latest map; a crop may replace it.
        features (dict[int, Tensor]): Stage to projected vectors, of the map as the
            stage gave it, before any crop.
    """

    stages: Sequence[Stage]
    start: Callable[[], Tensor]
    project: Callable[[Tensor, int], Tensor]
    stop: int
    heads: Collection[int]
    grad_from: int | None = 1
    at: int = 0
    features: dict[int, Tensor] = field(default_factory=dict)

    def advance(self, stage: int) -> None:
        """Run up to ``stage`` or the branch's own stop, whichever comes first."""
        while self.at < min(stage, self.stop):
            with torch.set_grad_enabled(self._records(self.at + 1)):
                if self.at == 0:
                    self.x = self.start()
                self.x = self.stages[self.at](self.x)
                self.at += 1
                if self.at in self.heads:
                    self.features[self.at] = self.project(self.x, self.at)

    def _records(self, stage: int) -> bool:
        recorded = self.grad_from is not None and stage >= self.grad_from
        return recorded and torch.is_grad_enabled()


def run_stages(
    branches: Sequence[Branch],
    crop_after: Collection[int],
    crop: Callable[[int, list[Branch]], None],
) -> None:
    """Run branches through their stages, cropping where branches go on.

    The one stage loop of every algorithm. Branches run in the order given, each as
    far as the next crop; without crops the first therefore finishes before the
    second starts, which is the order of upstream's algorithms.

    Args:
        branches (Sequence[Branch]): Changed in place.
        crop_after (Collection[int]): Stages after which maps are cropped.
        crop (Callable): Called with the stage and the branches that go on after
            it; replaces their ``x``.
    """
    last = max(branch.stop for branch in branches)
    for cut in [*sorted({stage for stage in crop_after if stage < last}), last]:
        for branch in branches:
            branch.advance(cut)
        if cut < last:
            crop(cut, [branch for branch in branches if branch.stop > cut])
