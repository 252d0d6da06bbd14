"""The layout that convolutions are fastest in, for upstream's algorithms too."""

from __future__ import annotations

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmselfsup.registry import HOOKS
from mmselfsup.utils import get_model


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Keep a model's weights in ``torch.channels_last``, and thereby its maps.

    A convolution gives its output the layout of its weights, so upstream's own
    algorithms train in it without a line of theirs being changed; the result is the
    same up to rounding. The Accel algorithms have ``channels_last`` for it. A fair
    comparison of training times gives it to both.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        """Convert the weights."""
        get_model(runner.model).to(memory_format=torch.channels_last)
