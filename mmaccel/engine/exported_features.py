"""Whether an exported network gives the features of the one it was made of."""

import torch
from torch import Tensor

from mmaccel.errors import ConfigError
from mmaccel.models.utils.architecture import Architecture

#: Largest difference of features by default, relative and absolute.
TOLERANCE = 1e-5


def sample_images(arch: Architecture, number: int = 2) -> Tensor:
    """Noise (N, C, H, W) in the size that a network is for, the same in every call."""
    size = 32 if arch.small_stem else 64
    generator = torch.Generator().manual_seed(0)
    return torch.randn(number, arch.in_channels, size, size, generator=generator)


def check_features(
    features: Tensor, expected: Tensor, tolerance: float = TOLERANCE
) -> None:
    """Refuse features that differ from those expected.

    Raises:
        ConfigError: If they differ by more than ``tolerance``, relative or absolute.
    """
    if not torch.allclose(features, expected, rtol=tolerance, atol=tolerance):
        worst = (features - expected).abs().max().item()
        raise ConfigError(
            f'the exported network gives other features (by up to {worst:.1e}), so '
            'nothing is written; is the backbone of a style other than pytorch?'
        )
