"""Stop when the loss is not a number."""

import math
from typing import Any, cast

from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from mmaccel.errors import TrainingStopped


@HOOKS.register_module()
class InvalidLossHook(Hook):
    """Stop training at a NaN or infinite loss, before a checkpoint is written.

    Steps after it are useless, and saving would replace good checkpoints.

    Raises:
        TrainingStopped: With iteration, exit, learning rate and last good checkpoint.
    """

    # the message hub has the loss, nothing has been saved
    priority = 'HIGH'

    def after_train_iter(self, runner: Runner, *_: Any, **__: Any) -> None:
        """Check the loss, which the message hub already has on the CPU."""
        scalars = runner.message_hub.log_scalars
        if 'train/loss' not in scalars:
            return
        loss = float(scalars['train/loss'].current())
        if math.isfinite(loss):
            return
        where = f'iteration {runner.iter + 1} (epoch {runner.epoch + 1}'
        if 'train/exit' in scalars:
            where += f', exit {int(scalars["train/exit"].current())}'
        optim = cast(OptimWrapper, runner.optim_wrapper)
        rates = sorted({r for rs in optim.get_lr().values() for r in rs})
        last = runner.message_hub.get_info('last_ckpt')
        remedy = (
            f'the last good checkpoint is {last}; lower the learning rate and resume '
            'from it'
            if last
            else 'no checkpoint was saved yet; lower the learning rate and start again'
        )
        raise TrainingStopped(
            f'the loss became {loss} at {where}, learning rate '
            f'{", ".join(f"{rate:.4g}" for rate in rates)}): {remedy}'
        )
