"""Hooks and log processor of a training run."""

from .hooks import KNNHook, PartialBackpropHook, ThroughputHook
from .log_processor import AccelLogProcessor

__all__ = ['PartialBackpropHook', 'ThroughputHook', 'KNNHook', 'AccelLogProcessor']
