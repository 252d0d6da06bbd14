"""Layers between stages."""

from .hard_example import HardExampleLayer
from .hard_pair_crop import Choice, HardPairCropLayer, Selection

__all__ = ['Choice', 'HardExampleLayer', 'HardPairCropLayer', 'Selection']
