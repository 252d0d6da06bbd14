"Projectors.''"

from .intermediate_neck import IntermediateNeck

__all__ = ['IntermediateNeck']
