"""Accelerated algorithms."""

from .accel_base import AccelMixin
from .accel_moco import AccelMoCo
from .accel_simclr import AccelSimCLR
from .accel_swav import AccelSwAV

__all__ = ['AccelMixin', 'AccelMoCo', 'AccelSimCLR', 'AccelSwAV']
