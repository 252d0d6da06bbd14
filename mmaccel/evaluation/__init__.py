"""Measures of a representation, and the records of what was measured."""

from .features import extract_features
from .head_accuracy import HeadAccuracy
from .hooks import KNNHook, ResultHook
from .knn import knn_classify, knn_top1
from .record import read_records, write_record

__all__ = [
    'knn_classify',
    'knn_top1',
    'extract_features',
    'HeadAccuracy',
    'KNNHook',
    'ResultHook',
    'read_records',
    'write_record',
]
