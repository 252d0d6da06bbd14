"""What runs a training: loop, hooks, log processor, and the checks before it."""

from .autocast_wrapper import AutocastOptimWrapper
from .distributed import CPUDistributedDataParallel
from .fused_lars import FusedLARS
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
from .stagewise_parallel import StagewiseDataParallel

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
    'StagewiseDataParallel',
    'FusedLARS',
    'AutocastOptimWrapper',
]
