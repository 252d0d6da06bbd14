"""Hooks that evaluate while something trains."""

from .knn_hook import KNNHook
from .result_hook import ResultHook

__all__ = ['KNNHook', 'ResultHook']
