"Projectors, and the norm between a backbone and downstream heads."

from .extra_norm import ExtraNorm
from .intermediate_neck import IntermediateNeck

__all__ = ['ExtraNorm', 'IntermediateNeck']
