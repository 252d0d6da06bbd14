"""Layers between stages."""

from .hard_example import HardExampleLayer
from .hard_pair_crop import CropResult, HardPairCropLayer, WindowTrace

__all__ = ['CropResult', 'HardExampleLayer', 'HardPairCropLayer', 'WindowTrace']
