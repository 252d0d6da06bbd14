"""What runs a training: loop, hooks, log processor, and the checks before it."""

from .autocast_wrapper import AutocastOptimWrapper
from .distributed import CPUDistributedDataParallel
from .epoch_sampler import EpochSampler
from .fused_lars import FusedLARS
from .hooks import (
    BadSampleHook,
    CurvesHook,
    InvalidLossHook,
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
    'EpochSampler',
    'StepSeedHook',
    'SafeCheckpointHook',
    'InvalidLossHook',
    'BadSampleHook',
    'CurvesHook',
    'ThroughputHook',
    'AccelLogProcessor',
    'CPUDistributedDataParallel',
    'StagewiseDataParallel',
    'FusedLARS',
    'AutocastOptimWrapper',
]
