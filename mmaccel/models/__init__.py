"""Algorithms, necks, heads, losses and layers, in MMSelfSup's registries."""

from .algorithms import AccelAlgorithm, AccelMoCo, AccelSimCLR, AccelSwAV
from .heads import AccelContrastiveHead, AccelSwAVHead
from .layers import HardPairCropLayer
from .losses import AccelSwAVLoss
from .necks import IntermediateNeck
from .preprocessors import AccelDataPreprocessor, ViewPreprocessor

__all__ = [
    'AccelAlgorithm',
    'AccelMoCo',
    'AccelSimCLR',
    'AccelSwAV',
    'AccelContrastiveHead',
    'AccelDataPreprocessor',
    'AccelSwAVHead',
    'AccelSwAVLoss',
    'HardPairCropLayer',
    'IntermediateNeck',
    'ViewPreprocessor',
]
