"""Draws what every optimizer update trains."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from mmengine.dist import broadcast, get_rank
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from mmaccel.models.algorithms import AccelAlgorithm
from mmaccel.models.plan import StepPlan
from mmaccel.models.unwrapped import unwrapped
from mmaccel.models.utils.checks import check_has_exits, check_num_blocks
from mmaccel.renamed import schedule_from_phases
from mmaccel.seeding import PLAN, derived_generator

from ..annealing import (
    ANNEAL,
    StageRates,
    freeze_times,
    numbers_of_stages,
    rate_factor,
)
from ..schedule import UNIFORM, TrainingStage, read_schedule, shares, stage_at
from ..schedule_checks import check_schedule, untrained_choosers

SCHEMES = ('bp_to_input', 'skipping', 'nearby_block')


@HOOKS.register_module()
class PartialBackpropHook(Hook):
    """Choose what is back-propagated in each update (paper, Algorithm 1, Section 4.3).

    The choice is a function of the seed and the number of the optimizer update, so
    all ranks agree without communication, a resumed run continues the sequence
    without saved state, and accumulated gradients share one exit. The hook hands a
    :class:`StepPlan` to the model and never touches ``requires_grad``.

    Args:
        exit_probs (Sequence[float], optional): Probability of each exit, >= 0, one per
            stage; scaled to sum 1; ``'skipping'`` reads their number alone. Defaults
            to uniform over four stages, as in the paper.
        update_scheme (str): ``'bp_to_input'`` trains all stages up to the exit, the
            paper's method. ``'nearby_block'`` trains a run of stages that ends at the
            exit and begins at an entry drawn uniformly. ``'skipping'`` takes the last
            stage's loss and trains residual branches that are not adjacent; through
            the others the gradient passes along the shortcut alone. Defaults to
            ``'bp_to_input'``.
        num_blocks (int, optional): Residual branches that ``'skipping'`` trains, at
            most half of them. By default a third, rounded.
        schedule (Sequence[dict], optional): In place of ``exit_probs``, what holds
            when while training goes on: arguments of
            :class:`~mmaccel.engine.schedule.TrainingStage`. Not in the paper, and for
            ``'bp_to_input'`` alone.
        anneal (str, optional): Lets the learning rate of each stage fall to zero along
            a cosine until the schedule freezes the stage (FreezeOut, Brock et al.
            2017). ``'unscaled'`` begins with the config's rate; ``'scaled'`` with
            that over the share of the training until then, so that a stage that
            freezes early travels as far. Rates are those of the config's schedulers,
            multiplied (:func:`~mmaccel.engine.annealing.rate_factor`). Defaults to
            None, the config's rates until a stage freezes.
        measure_interval (int): Every so many iterations the algorithm reports
            similarities, feature standard deviation and effective rank, and in the
            first; with 0 in the first alone. Defaults to 50.
        entry_probs, phases: Old form of ``schedule``, until the next version.

    Raises:
        ValueError: If an argument is out of its range.
    """

    priority = 'NORMAL'

    def __init__(
        self,
        exit_probs: Sequence[float] | None = None,
        update_scheme: str = 'bp_to_input',
        num_blocks: int | None = None,
        schedule: Sequence[dict] | None = None,
        anneal: str | None = None,
        measure_interval: int = 50,
        entry_probs: Sequence[float] | None = None,
        phases: Sequence[dict] | None = None,
    ) -> None:
        if update_scheme not in SCHEMES:
            raise ValueError(
                f'update_scheme={update_scheme!r} is unknown; use one of '
                f'{", ".join(SCHEMES)}'
            )
        if num_blocks is not None and update_scheme != 'skipping':
            raise ValueError(
                f'num_blocks={num_blocks} is for skipping alone; set '
                "update_scheme='skipping' or leave it out"
            )
        if entry_probs is not None or phases:
            schedule = schedule_from_phases(
                phases or (),
                exit_probs=exit_probs or UNIFORM,
                entry_probs=entry_probs or (1.0,),
            )
            exit_probs = None
        if schedule and (exit_probs is not None or update_scheme != 'bp_to_input'):
            raise ValueError(
                'schedule says what is trained when, for '
                "update_scheme='bp_to_input'; leave out exit_probs and the scheme, "
                'or schedule'
            )
        self.schedule = read_schedule(schedule) if schedule else []
        if not schedule:
            exits = TrainingStage(exit_probs=exit_probs or UNIFORM).exit_probs
            entries: Sequence[float] = (1.0,)
            if update_scheme == 'nearby_block':
                entries = (1.0,) * len(exits)
            elif update_scheme == 'skipping':
                exits = (0.0,) * (len(exits) - 1) + (1.0,)
            self.schedule = [TrainingStage(exit_probs=exits, entry_probs=entries)]
        self.freeze_times = freeze_times(self.schedule)
        if anneal is not None:
            if anneal not in ANNEAL:
                raise ValueError(
                    f'anneal={anneal!r} is unknown; use {" or ".join(ANNEAL)}, or None'
                )
            if all(time in (0, 1) for time in self.freeze_times):
                raise ValueError(
                    f'anneal={anneal!r} lowers the rate of stages that freeze, and '
                    'none does; give schedule a stage with entry_probs=(0, 1), or '
                    'leave anneal out'
                )
        self.anneal = anneal
        self._rates: StageRates | None = None
        self.update_scheme = update_scheme
        self.num_blocks = num_blocks
        self.measure_interval = measure_interval
        self._seed: int | None = None

    def before_train(self, runner: Runner) -> None:
        """Reject what cannot work, naming the remedy, and agree on the seed."""
        model = unwrapped(runner.model)
        self.check_model(model)
        never = untrained_choosers(self.schedule, model)
        if never:
            runner.logger.warning(
                f'Windows after stage(s) {", ".join(map(str, sorted(never)))} are '
                "chosen by projectors that no loss trains; model.loss_on='cumulative' "
                'trains them'
            )
        unused_allowed = getattr(runner.model, 'find_unused_parameters', True)
        if is_model_wrapper(runner.model) and not unused_allowed:
            raise ValueError(
                'stages after the exit get no gradient, which DistributedDataParallel '
                'refuses by default; set model_wrapper_cfg=dict(type='
                "'StagewiseDataParallel')"
            )
        # ranks with different exits would mix gradients without any error
        seed = torch.tensor([runner.seed], device=next(model.parameters()).device)
        broadcast(seed, src=0)
        self._seed = int(seed)
        if self.anneal is not None:
            optimizer = cast(OptimWrapper, runner.optim_wrapper).optimizer
            self._rates = StageRates(optimizer, numbers_of_stages(model.backbone))

    def check_model(self, model: Any) -> None:
        """Reject a model that this hook cannot drive.

        Raises:
            ValueError: Naming the setting to change.
        """
        check_has_exits(model)
        check_schedule(self.schedule, model)
        if self.num_blocks is not None:
            check_num_blocks(self.num_blocks, model.num_blocks)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        """Draw this update's plan and hand it to the model."""
        assert self._seed is not None, 'before_train sets the seed'
        model = unwrapped(runner.model)
        counts = cast(OptimWrapper, runner.optim_wrapper)._accumulative_counts
        update = runner.iter // counts
        progress = update * counts / runner.max_iters
        stage = stage_at(self.schedule, progress)
        if self._rates is not None:
            self._rates.factors = [
                rate_factor(progress, time, self.anneal == 'scaled')
                for time in self.freeze_times
            ]
        model.plan = replace(
            self.draw(model, self._seed, update, stage),
            window_seed=(self._seed, runner.iter, get_rank()),
            measure=self.every_n_train_iters(runner, self.measure_interval)
            or runner.iter == 0,
        )
        runner.message_hub.update_scalar('train/exit', model.plan.exit_stage)

    def after_train(self, runner: Runner) -> None:
        """Take the plan back, and leave the optimizer alone."""
        if self._rates is not None:
            self._rates.remove()
            self._rates = None
        unwrapped(runner.model).plan = None

    def draw(
        self,
        model: AccelAlgorithm,
        seed: int,
        update: int,
        stage: TrainingStage | None = None,
    ) -> StepPlan:
        """Plan of the optimizer update number ``update``, counted from 0.

        The stage of the schedule is by default the first.
        """
        stage = stage or self.schedule[0]
        generator = derived_generator(PLAN, seed, update)
        if self.update_scheme != 'skipping':
            return stage.draw(generator)
        number = self.num_blocks or max(1, round(model.num_blocks / 3))
        blocks = _not_adjacent(model.num_blocks, number, generator)
        return StepPlan(len(stage.exit_probs), blocks=blocks)

    def distribution(
        self, model: AccelAlgorithm, samples: int = 16
    ) -> list[tuple[float, StepPlan]]:
        """All plans with their probabilities; for ``'skipping'`` an equal sample.

        Returns:
            list[tuple[float, StepPlan]]: Probabilities sum to 1.
        """
        if self.update_scheme == 'skipping':
            return [(1 / samples, self.draw(model, 0, i)) for i in range(samples)]
        return [
            (share * probability, plan)
            for share, stage in zip(shares(self.schedule), self.schedule)
            for probability, plan in stage.plans()
        ]


def _not_adjacent(
    total: int, number: int, generator: torch.Generator
) -> tuple[int, ...]:
    """Draw uniformly among the sets of ``number`` blocks without neighbours.

    Sets of m out of n without neighbours are sets of m out of n - m + 1, spread by
    one place after each element.
    """
    spread = torch.randperm(total - number + 1, generator=generator)[:number]
    return tuple(int(block) + i for i, block in enumerate(spread.sort().values))
