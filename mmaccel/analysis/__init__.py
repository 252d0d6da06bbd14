"""What a training step costs: operations, memory and time."""

from .measure import Spread, cost_of_step
from .step import StepRunner, input_shapes

__all__ = ['StepRunner', 'input_shapes', 'Spread', 'cost_of_step']
