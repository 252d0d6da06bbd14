"""Accelerated algorithms."""

from .accel_base import AccelAlgorithm
from .accel_moco import AccelMoCo
from .accel_simclr import AccelSimCLR
from .accel_swav import AccelSwAV

__all__ = ['AccelAlgorithm', 'AccelMoCo', 'AccelSimCLR', 'AccelSwAV']
