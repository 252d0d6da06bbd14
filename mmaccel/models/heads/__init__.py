"""Heads."""

from .accel_contrastive_head import AccelContrastiveHead
from .accel_swav_head import AccelSwAVHead

__all__ = ['AccelContrastiveHead', 'AccelSwAVHead']
