"Layers between stages.''"

from .hard_pair_crop import HardPair, HardPairCropLayer

__all__ = ['HardPair', 'HardPairCropLayer']
