"""Draws the exit of every optimizer update."""

from __future__ import annotations

import math
from typing import Sequence

import torch
from mmengine.dist import broadcast, get_rank
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmselfsup.registry import HOOKS
from mmselfsup.utils import get_model

from ..plan import StepPlan, seeded_generator


@HOOKS.register_module()
class PartialBackpropHook(Hook):
    """Choose the stage whose loss is back-propagated (paper, Algorithm 1).

    The exit is a function of the seed and the number of the optimizer update, so
    all ranks agree without talking, a resumed run continues the sequence without
    saved state, and accumulated gradients share one exit. The hook hands a
    :class:`StepPlan` to the model and never touches ``requires_grad``.

    Args:
        exit_probs (Sequence[float]): Probability of each exit, >= 0, one a stage;
            scaled to sum 1. Defaults to uniform over four stages, as in the paper.
        measure_interval (int): Every so many iterations the algorithm reports
            similarities, feature standard deviation and effective rank. 0 never.
            Defaults to 50.

    Raises:
        ValueError: If the probabilities are negative or sum to zero.
    """

    priority = 'NORMAL'

    def __init__(
        self,
        exit_probs: Sequence[float] = (0.25, 0.25, 0.25, 0.25),
        measure_interval: int = 50,
    ) -> None:
        probs = [float(p) for p in exit_probs]
        if not all(math.isfinite(p) and p >= 0 for p in probs):
            raise ValueError(
                f'exit_probs={tuple(exit_probs)} must not be negative; '
                'give each exit a probability >= 0, such as (0.25, 0.25, 0.25, 0.25)'
            )
        if sum(probs) == 0:
            raise ValueError(
                f'exit_probs={tuple(exit_probs)} sums to zero: no exit can be drawn; '
                'give at least one exit a positive probability'
            )
        self.exit_probs = tuple(p / sum(probs) for p in probs)
        self.measure_interval = measure_interval
        self._seed: int | None = None

    def before_train(self, runner) -> None:
        """Refuse what cannot work, naming the remedy, and agree on the seed."""
        model = get_model(runner.model)
        num_exits = getattr(model, 'num_exits', None)
        if num_exits is None:
            raise ValueError(
                f'PartialBackpropHook needs an Accel model but got '
                f"{type(model).__name__}; set model.type to 'AccelMoCo' or remove the "
                'hook from custom_hooks'
            )
        if len(self.exit_probs) != num_exits:
            uniform = tuple(round(1 / num_exits, 4) for _ in range(num_exits))
            raise ValueError(
                f'exit_probs has {len(self.exit_probs)} values but the model has '
                f'{num_exits} exits; give one an exit, such as exit_probs={uniform}'
            )
        unused_allowed = getattr(runner.model, 'find_unused_parameters', True)
        if is_model_wrapper(runner.model) and not unused_allowed:
            raise ValueError(
                'stages behind the exit get no gradient, which DistributedDataParallel '
                'refuses by default; set find_unused_parameters=True in the config'
            )
        # ranks with different exits would mix gradients without any error
        seed = torch.tensor([runner.seed], device=_device(model))
        broadcast(seed, src=0)
        self._seed = int(seed)

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Draw this update's exit and hand the plan to the model."""
        update = runner.iter // runner.optim_wrapper._accumulative_counts
        exit_stage = self.draw_exit(update)
        model = get_model(runner.model)
        model.plan = StepPlan(
            exit_stage=exit_stage,
            window_seed=(self._seed, runner.iter, get_rank()),
            measure=self.every_n_train_iters(runner, self.measure_interval)
            or runner.iter == 0,
        )
        runner.message_hub.update_scalar('train/exit', exit_stage)

    def after_train(self, runner) -> None:
        """Take the plan back."""
        get_model(runner.model).plan = None

    def draw_exit(self, update: int) -> int:
        """Exit of the optimizer update number ``update``, counted from 0."""
        assert self._seed is not None, 'before_train sets the seed'
        generator = seeded_generator(self._seed, update)
        probs = torch.tensor(self.exit_probs, dtype=torch.float64)
        return int(torch.multinomial(probs, 1, generator=generator)) + 1


def _device(model: torch.nn.Module) -> torch.device:
    return next(model.parameters()).device
