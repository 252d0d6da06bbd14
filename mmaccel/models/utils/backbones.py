"""What a ResNet-family backbone consists of."""

import copy
from collections.abc import Mapping

from torch import Tensor, nn


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


def view_with(module: nn.Module, children: Mapping[str, nn.Module]) -> nn.Module:
    """Shallow copy of a module in which some children are others.

    Parameters, buffers and all other children are shared; the module is not changed.
    """
    view = copy.copy(module)
    view._modules = {**module._modules, **children}
    return view


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


def last_map(output: Tensor | tuple[Tensor, ...] | list[Tensor]) -> Tensor:
    """The last map of what a backbone returns, which is one or several."""
    return output[-1] if isinstance(output, (tuple, list)) else output


def pooled_map(output: Tensor | tuple[Tensor, ...] | list[Tensor]) -> Tensor:
    """The last map (N, C, H, W) averaged over its area; vectors as they are."""
    last = last_map(output)
    return last.flatten(2).mean(2) if last.ndim > 2 else last
