"""Which ResNet some weights belong to, and that network in three libraries."""

from collections.abc import Mapping
from typing import NamedTuple

import torchvision
from mmengine.registry import MODELS
from torch import Tensor, nn

from mmaccel import host
from mmaccel.errors import ConfigError

_DEPTHS: dict[tuple[bool, tuple[int, ...]], int] = {
    (False, (2, 2, 2, 2)): 18,
    (False, (3, 4, 6, 3)): 34,
    (True, (3, 4, 6, 3)): 50,
    (True, (3, 4, 23, 3)): 101,
    (True, (3, 8, 36, 3)): 152,
}


class Architecture(NamedTuple):
    """A ResNet, as far as the shapes of its weights tell.

    ``blocks`` a stage, ``bottleneck`` or basic blocks, ``groups`` and
    ``width_per_group`` (ResNeXt: 32 and 4), ``base_channels`` (64 in the paper),
    ``small_stem`` (3x3 convolution without pooling, for images of about 32 px),
    ``deep_stem`` (three 3x3 convolutions) and ``avg_down`` (pooling before the
    convolution of a shortcut), which together make ResNet-D.
    """

    blocks: tuple[int, ...]
    bottleneck: bool
    in_channels: int
    base_channels: int
    stem_channels: int
    groups: int
    width_per_group: int
    small_stem: bool
    deep_stem: bool
    avg_down: bool

    @property
    def depth(self) -> int:
        """Layers, by which ResNets are called."""
        return _DEPTHS[self.bottleneck, self.blocks]

    @property
    def name(self) -> str:
        """What torchvision and timm call it, the stem for small images aside."""
        if self.groups > 1:
            return f'resnext{self.depth}_{self.groups}x{self.width_per_group}d'
        letter = {(True, True): 'd', (True, False): 'c'}
        return f'resnet{self.depth}' + letter.get((self.deep_stem, self.avg_down), '')


def read_architecture(weights: Mapping[str, Tensor]) -> Architecture:
    """Tell a ResNet from the names and shapes of its weights.

    Args:
        weights (Mapping[str, Tensor]): Under MMClassification's names, without prefix.

    Raises:
        ConfigError: If they are no ResNet's of known depth.

    Note:
        Strides leave no trace in weights: those of a ``'pytorch'`` style network are
        taken, which is what pretraining uses.
    """
    try:
        blocks = tuple(
            len({n.split('.')[1] for n in weights if n.startswith(f'layer{i}.')})
            for i in range(1, 5)
        )
        bottleneck = 'layer1.0.conv3.weight' in weights
        deep_stem = 'conv1.weight' not in weights
        stem = weights['stem.0.conv.weight' if deep_stem else 'conv1.weight']
        last = weights[f'layer1.0.conv{3 if bottleneck else 2}.weight']
        base = last.shape[0] // (4 if bottleneck else 1)
        inner = weights['layer1.0.conv2.weight']
        groups = inner.shape[0] // inner.shape[1]
        found = Architecture(
            blocks=blocks,
            bottleneck=bottleneck,
            in_channels=stem.shape[1],
            base_channels=base,
            stem_channels=stem.shape[0] * (2 if deep_stem else 1),
            groups=groups,
            width_per_group=inner.shape[1] if groups > 1 else 64,
            small_stem=not deep_stem and stem.shape[2] == 3,
            deep_stem=deep_stem,
            avg_down=weights['layer2.0.downsample.1.weight'].ndim == 4,
        )
        _ = found.depth
    except (KeyError, IndexError) as error:
        raise ConfigError(
            'the weights are no ResNet of 18, 34, 50, 101 or 152 layers with all four '
            'stages; export the checkpoint of one'
        ) from error
    return found


def mmcls_network(arch: Architecture) -> nn.Module:
    """MMClassification's network; called, it gives the map of the last stage."""
    scope = host.current().labels  # MMPretrain took the networks over
    cfg = dict(
        type=f'{scope}.ResNet',
        depth=arch.depth,
        in_channels=arch.in_channels,
        base_channels=arch.base_channels,
        stem_channels=arch.stem_channels,
        deep_stem=arch.deep_stem,
        avg_down=arch.avg_down,
    )
    if arch.small_stem:
        cfg['type'] = f'{scope}.ResNet_CIFAR'
    elif arch.groups > 1:
        cfg.update(
            type=f'{scope}.ResNeXt',
            groups=arch.groups,
            width_per_group=arch.width_per_group,
        )
    return host.build(MODELS, cfg)


def torchvision_network(arch: Architecture) -> nn.Module:
    """Torchvision's network without classifier; called, it gives pooled features.

    Raises:
        ConfigError: If torchvision has no such network.
    """
    if arch.deep_stem or arch.avg_down:
        raise ConfigError(
            f'torchvision has no {arch.name}; export it with --format timm or mmcls'
        )
    _refuse_width(arch, 'torchvision')
    block = torchvision.models.resnet.Bottleneck
    if not arch.bottleneck:
        block = torchvision.models.resnet.BasicBlock
    network = torchvision.models.ResNet(
        block,
        list(arch.blocks),
        groups=arch.groups,
        width_per_group=arch.width_per_group,
    )
    network.fc = nn.Identity()
    return _with_stem(network, arch)


def timm_network(arch: Architecture) -> nn.Module:
    """Timm's network without classifier; called, it gives pooled features.

    Raises:
        ConfigError: If timm is not installed or has no such network.
    """
    try:
        import timm
    except ImportError as error:
        raise ConfigError(
            'timm is not installed and the export is checked against it; '
            '`pip install timm`'
        ) from error
    _refuse_width(arch, 'timm')
    if arch.name not in timm.list_models():
        raise ConfigError(f'timm has no {arch.name}; export it with --format mmcls')
    network = timm.create_model(arch.name, num_classes=0, in_chans=arch.in_channels)
    return _with_stem(network, arch)


def plain_name(name: str, arch: Architecture) -> str:
    """What torchvision and timm call a weight that MMClassification calls ``name``."""
    if name.startswith('stem.'):
        _, number, part, kind = name.split('.')
        if (number, part) == ('2', 'bn'):
            return f'bn1.{kind}'
        # convolution, norm and activation, three times, without the last two
        return f'conv1.{3 * int(number) + (part == "bn")}.{kind}'
    if arch.avg_down and name.startswith('layer1.0.downsample.'):
        # nothing to pool where nothing shrinks; timm keeps the place
        *parts, number, kind = name.split('.')
        return '.'.join([*parts, str(int(number) + 1), kind])
    return name


def _with_stem(network: nn.Module, arch: Architecture) -> nn.Module:
    if arch.small_stem:
        network.conv1 = nn.Conv2d(arch.in_channels, 64, 3, padding=1, bias=False)
        network.maxpool = nn.Identity()
    elif arch.in_channels != 3 and not arch.deep_stem:
        network.conv1 = nn.Conv2d(
            arch.in_channels, 64, 7, stride=2, padding=3, bias=False
        )
    return network


def _refuse_width(arch: Architecture, library: str) -> None:
    if (arch.base_channels, arch.stem_channels) != (64, 64):
        raise ConfigError(
            f'{library} has no {arch.name} with {arch.base_channels} instead of 64 '
            'channels; export it with --format mmcls'
        )
