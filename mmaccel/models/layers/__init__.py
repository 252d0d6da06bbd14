"""Layers between stages."""

from .hard_example import HardExampleLayer
from .hard_pair_crop import HardPairCropLayer, Selection

__all__ = ['HardExampleLayer', 'HardPairCropLayer', 'Selection']
