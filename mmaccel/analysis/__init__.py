"""What a training step costs: operations, memory and time."""

from .measure import Spread, cost_of_step
from .numerics import Numerics
from .step import StepRunner, input_shapes

__all__ = ['Numerics', 'StepRunner', 'input_shapes', 'Spread', 'cost_of_step']
