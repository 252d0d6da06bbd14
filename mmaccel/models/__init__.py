"Algorithms, necks, heads and layers, in MMSelfSup's registries.''"

from .algorithms import AccelMixin, AccelMoCo, AccelSimCLR
from .heads import AccelContrastiveHead
from .layers import HardPairCropLayer
from .necks import IntermediateNeck

__all__ = [
    'AccelMixin',
    'AccelMoCo',
    'AccelSimCLR',
    'AccelContrastiveHead',
    'HardPairCropLayer',
    'IntermediateNeck',
]
