"""Warn when a loss stays at its chance level."""

from collections import defaultdict
from typing import Any

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from mmaccel.models.unwrapped import unwrapped

from ..config_reader import type_name

_CHECK = {
    'SwAV': 'that the learning rate warms up, that prototypes are frozen at first '
    '(frozen_layers_cfg), that the queue does not start too early '
    '(epoch_queue_starts), and epsilon (0.03 is steadier than 0.05 on small sets)',
    'SimCLR': 'that the learning rate fits the batch (--auto-scale-lr) and warms up, '
    'the temperature, and that the views of an image still share content',
    'MoCo': 'that the learning rate fits the batch (--auto-scale-lr), the momentum of '
    'the key encoder, and that the views of an image still share content',
}


@HOOKS.register_module()
class StuckLossHook(Hook):
    """Warn of a likely collapse: a loss at its chance level for a whole epoch.

    A model whose features are all alike cannot tell a positive from the negatives; its
    loss is the logarithm of their number, and stays there.

    Args:
        tolerance (float): Relative distance of an epoch's mean loss from the chance
            level below which they count as equal. Defaults to 0.01.
        begin (int): First epochs that are not checked: SwAV's prototypes are frozen and
            MoCo's queue is random then. Defaults to 1.

    Note:
        Needs the ``chance_exit{i}`` that accelerated models report.
    """

    # after the hook that writes the losses to the message hub
    priority = 'LOW'

    def __init__(self, tolerance: float = 0.01, begin: int = 1) -> None:
        self.tolerance = tolerance
        self.begin = begin
        self._losses: dict[str, list[float]] = defaultdict(list)

    def before_train_epoch(self, runner: Runner) -> None:
        """Forget the last epoch."""
        self._losses.clear()

    def after_train_iter(
        self, runner: Runner, *_: Any, outputs: dict | None = None, **__: Any
    ) -> None:
        """Note the losses of this iteration, which the message hub has as numbers."""
        for key in outputs or ():
            if key.startswith('loss_exit'):
                value = runner.message_hub.get_scalar(f'train/{key}').current()
                self._losses[key[len('loss_exit') :]].append(float(value))

    def after_train_epoch(self, runner: Runner) -> None:
        """Compare the epoch's mean losses with their chance levels."""
        scalars = runner.message_hub.log_scalars
        if runner.epoch < self.begin:
            return
        for stage, losses in sorted(self._losses.items()):
            if f'train/chance_exit{stage}' not in scalars:
                continue
            weight = unwrapped(runner.model).loss_weights[int(stage) - 1]
            chance = float(scalars[f'train/chance_exit{stage}'].current()) * weight
            mean = sum(losses) / len(losses)
            if chance and abs(mean - chance) <= self.tolerance * chance:
                name = type_name(runner.cfg.model)
                check = next((c for key, c in _CHECK.items() if key in name), '')
                runner.logger.warning(
                    f'Likely collapse: the mean loss of exit {stage} in epoch '
                    f'{runner.epoch + 1}, {mean:.3f}, is its chance level '
                    f'{chance:.3f}: nothing was learned. Check {check}; feat_std and '
                    'eff_rank in the log tell whether features became alike'
                )
