"""The memory layout in which convolutions are fastest, for upstream's algorithms."""

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmselfsup.registry import HOOKS
from mmselfsup.utils import get_model


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Keep a model's weights, and thereby its feature maps, in ``channels_last``.

    A convolution's output has the layout of its weights, so upstream's own algorithms
    train in it unchanged, with the same result up to rounding. The Accel algorithms
    have an argument ``channels_last``. A fair comparison of training times uses the
    same layout for both.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        """Convert the weights."""
        get_model(runner.model).to(memory_format=torch.channels_last)
