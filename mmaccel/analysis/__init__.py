"""What a training step costs: operations, memory and time."""

from .cost import cost_of_step
from .measure import MedianRange
from .numerics import Numerics
from .step import StepRunner, input_shapes

__all__ = ['Numerics', 'StepRunner', 'input_shapes', 'MedianRange', 'cost_of_step']
