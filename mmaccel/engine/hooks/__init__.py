"""Hooks, each with one duty."""

from .knn_hook import KNNHook
from .partial_backprop_hook import PartialBackpropHook
from .throughput_hook import ThroughputHook

__all__ = ['PartialBackpropHook', 'ThroughputHook', 'KNNHook']
