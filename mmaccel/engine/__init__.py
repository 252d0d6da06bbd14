"""What runs a training: loop, hooks, log processor, and the checks before it."""

from .distributed import CPUDistributedDataParallel
from .hooks import (
    BadSampleHook,
    CurvesHook,
    InvalidLossHook,
    KNNHook,
    PartialBackpropHook,
    SafeCheckpointHook,
    StepSeedHook,
    ThroughputHook,
)
from .log_processor import AccelLogProcessor
from .loops import ResumableTrainLoop

__all__ = [
    'PartialBackpropHook',
    'ResumableTrainLoop',
    'StepSeedHook',
    'SafeCheckpointHook',
    'InvalidLossHook',
    'BadSampleHook',
    'CurvesHook',
    'ThroughputHook',
    'KNNHook',
    'AccelLogProcessor',
    'CPUDistributedDataParallel',
]
