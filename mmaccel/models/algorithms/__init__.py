"""Accelerated algorithms."""

from .accel_base import AccelMixin
from .accel_moco import AccelMoCo
from .accel_simclr import AccelSimCLR

__all__ = ['AccelMixin', 'AccelMoCo', 'AccelSimCLR']
