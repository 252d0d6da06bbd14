"Accelerated algorithms.''"

from .accel_base import AccelMixin
from .accel_moco import AccelMoCo

__all__ = ['AccelMixin', 'AccelMoCo']
