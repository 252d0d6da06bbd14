"""Hooks, each with one duty."""

from .bad_sample_hook import BadSampleHook
from .checkpoint_hook import SafeCheckpointHook
from .curves_hook import CurvesHook
from .interrupt_hook import InterruptHook
from .invalid_loss_hook import InvalidLossHook
from .key_age_hook import KeyAgeHook
from .partial_backprop_hook import PartialBackpropHook
from .step_seed_hook import StepSeedHook
from .stuck_loss_hook import StuckLossHook
from .throughput_hook import ThroughputHook

__all__ = [
    'PartialBackpropHook',
    'StepSeedHook',
    'SafeCheckpointHook',
    'InvalidLossHook',
    'InterruptHook',
    'BadSampleHook',
    'CurvesHook',
    'StuckLossHook',
    'KeyAgeHook',
    'ThroughputHook',
]
