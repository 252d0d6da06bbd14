"""Losses."""

from .accel_swav_loss import AccelSwAVLoss

__all__ = ['AccelSwAVLoss']
