"Algorithms, necks, heads and layers, in MMSelfSup's registries.''"

from .algorithms import AccelMixin, AccelMoCo
from .heads import AccelContrastiveHead
from .layers import HardPairCropLayer
from .necks import IntermediateNeck

__all__ = [
    'AccelMixin',
    'AccelMoCo',
    'AccelContrastiveHead',
    'HardPairCropLayer',
    'IntermediateNeck',
]
