"""What runs a training: loop, hooks, log processor, and the checks before it."""

from .autocast_wrapper import AutocastOptimWrapper
from .distributed import CPUDistributedDataParallel
from .epoch_sampler import EndlessSampler, EpochSampler
from .fused_lars import FusedLARS
from .hooks import (
    BadSampleHook,
    CurvesHook,
    InterruptHook,
    InvalidLossHook,
    PartialBackpropHook,
    SafeCheckpointHook,
    StepSeedHook,
    ThroughputHook,
)
from .log_processor import AccelLogProcessor
from .loops import ResumableTrainLoop
from .stagewise_parallel import StagewiseDataParallel
from .worker import init_loader_worker  # noqa: F401, configs name it

__all__ = [
    'PartialBackpropHook',
    'ResumableTrainLoop',
    'EpochSampler',
    'EndlessSampler',
    'StepSeedHook',
    'SafeCheckpointHook',
    'InvalidLossHook',
    'InterruptHook',
    'BadSampleHook',
    'CurvesHook',
    'ThroughputHook',
    'AccelLogProcessor',
    'CPUDistributedDataParallel',
    'StagewiseDataParallel',
    'FusedLARS',
    'AutocastOptimWrapper',
]
