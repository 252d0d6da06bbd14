"""Draws what every optimizer update trains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from mmengine.dist import broadcast, get_rank
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmselfsup.registry import HOOKS
from mmselfsup.utils import get_model

from mmaccel.models.plan import StepPlan
from mmaccel.seeding import PLAN, derived_generator

from ..phases import Phase, phase_at, read_changes, read_phases, shares

SCHEMES = ('bp_to_input', 'skipping', 'nearby_block')


@HOOKS.register_module()
class PartialBackpropHook(Hook):
    """Choose what is back-propagated in each update (paper, Algorithm 1, Section 4.3).

    The choice is a function of the seed and the number of the optimizer update, so
    all ranks agree without talking, a resumed run continues the sequence without
    saved state, and accumulated gradients share one exit. The hook hands a
    :class:`StepPlan` to the model and never touches ``requires_grad``.

    Args:
        exit_probs (Sequence[float]): Probability of each exit, >= 0, one a stage;
            scaled to sum 1; ``'skipping'`` reads their number alone. Defaults to
            uniform over four stages, as in the paper.
        entry_probs (Sequence[float], optional): Probability of each stage to be the
            first that is trained, >= 0, drawn among those up to the exit; its input is
            detached. Not in the paper, and for ``'bp_to_input'`` alone. By default as
            the update scheme says.
        update_scheme (str): ``'bp_to_input'`` trains all stages up to the exit, the
            paper's method. ``'nearby_block'`` trains a run of stages that ends at the
            exit and begins at an entry drawn uniformly. ``'skipping'`` takes the last
            stage's loss and trains residual branches that are not adjacent; through
            the others the gradient passes along the shortcut alone. Defaults to
            ``'bp_to_input'``.
        num_blocks (int, optional): Residual branches that ``'skipping'`` trains, at
            most half of them. By default a third, rounded.
        phases (Sequence[dict]): What changes while training goes on: ``begin``, the
            share of the training that is over by then, and of ``exit_probs``,
            ``entry_probs``, ``windows``, ``select``, ``crop_ratio``, ``view_scale`` and
            ``supervision`` what is to change (:class:`Phase`). Not in the paper.
            Defaults to nothing.
        measure_interval (int): Every so many iterations the algorithm reports
            similarities, feature standard deviation and effective rank, and in the
            first; with 0 in the first alone. Defaults to 50.

    Raises:
        ValueError: If an argument is out of its range.
    """

    priority = 'NORMAL'

    def __init__(
        self,
        exit_probs: Sequence[float] = (0.25, 0.25, 0.25, 0.25),
        entry_probs: Sequence[float] | None = None,
        update_scheme: str = 'bp_to_input',
        num_blocks: int | None = None,
        phases: Sequence[dict] = (),
        measure_interval: int = 50,
    ) -> None:
        if update_scheme not in SCHEMES:
            raise ValueError(
                f'update_scheme={update_scheme!r} is unknown; use one of '
                f'{", ".join(SCHEMES)}'
            )
        changing = {name for phase in read_changes(phases) for name in phase}
        enters = entry_probs is not None or 'entry_probs' in changing
        if enters and update_scheme != 'bp_to_input':
            raise ValueError(
                f'update_scheme={update_scheme!r} says itself where the gradient ends; '
                'leave out entry_probs or the scheme'
            )
        if 'exit_probs' in changing and update_scheme == 'skipping':
            raise ValueError(
                "update_scheme='skipping' always takes the last stage's loss; leave "
                'exit_probs out of phases'
            )
        if num_blocks is not None and update_scheme != 'skipping':
            raise ValueError(
                f'num_blocks={num_blocks} is for skipping alone; set '
                "update_scheme='skipping' or leave it out"
            )
        if entry_probs is None:
            anywhere = update_scheme == 'nearby_block'
            entry_probs = (1.0,) * len(exit_probs) if anywhere else (1.0,)
        self.phases = read_phases(exit_probs, entry_probs, phases)
        self.update_scheme = update_scheme
        self.num_blocks = num_blocks
        self.measure_interval = measure_interval
        self._seed: int | None = None

    def before_train(self, runner) -> None:
        """Refuse what cannot work, naming the remedy, and agree on the seed."""
        model = get_model(runner.model)
        self.check_model(model)
        never = set.intersection(*(self._without_loss(model, p) for p in self.phases))
        never &= set().union(*(self._scored(model, p) for p in self.phases))
        if never:
            runner.logger.warning(
                f'Windows after stage(s) {", ".join(map(str, sorted(never)))} are '
                'chosen by projectors that no loss trains; '
                "model.supervision='cumulative' trains them"
            )
        unused_allowed = getattr(runner.model, 'find_unused_parameters', True)
        if is_model_wrapper(runner.model) and not unused_allowed:
            raise ValueError(
                'stages behind the exit get no gradient, which DistributedDataParallel '
                'refuses by default; set model_wrapper_cfg=dict(type='
                "'mmselfsup.StagewiseDataParallel')"
            )
        # ranks with different exits would mix gradients without any error
        seed = torch.tensor([runner.seed], device=next(model.parameters()).device)
        broadcast(seed, src=0)
        self._seed = int(seed)

    def check_model(self, model: torch.nn.Module) -> None:
        """Refuse a model that this hook cannot drive.

        Raises:
            ValueError: Naming the setting to change.
        """
        num_exits = getattr(model, 'num_exits', None)
        if num_exits is None:
            raise ValueError(
                f'PartialBackpropHook needs an Accel model but got '
                f"{type(model).__name__}; set model.type to 'AccelMoCo', 'AccelSimCLR' "
                "or 'AccelSwAV', or remove the hook from custom_hooks"
            )
        for phase in self.phases:
            number = len(phase.exit_probs)
            if number != num_exits:
                uniform = tuple(round(1 / num_exits, 4) for _ in range(num_exits))
                raise ValueError(
                    f'exit_probs has {number} values but the model has {num_exits} '
                    f'exits; give one an exit, such as exit_probs={uniform}'
                )
            if len(phase.entry_probs) > num_exits:
                raise ValueError(
                    f'entry_probs has {len(phase.entry_probs)} values but the model '
                    f'has {num_exits} stages; give at most one a stage'
                )
            self._check_windows(model, phase)
        unfilled = set().union(
            *(
                self._without_loss(model, p) & self._scored(model, p)
                for p in self.phases
            )
        )
        if unfilled and getattr(model, 'key_forward', 'full') == 'truncated':
            raise ValueError(
                f'windows after stage {min(unfilled)} are scored '
                "against a queue that key_forward='truncated' does not fill while the "
                "stage has no loss; set model.key_forward='full', or "
                "model.supervision='cumulative'"
            )
        most = (model.num_blocks + 1) // 2
        if self.num_blocks is not None and not 1 <= self.num_blocks <= most:
            raise ValueError(
                f'num_blocks={self.num_blocks} residual blocks that are not adjacent '
                f'cannot be chosen from {model.num_blocks}; use 1 to {most}'
            )

    def _without_loss(self, model: torch.nn.Module, phase: Phase) -> set[int]:
        """Stages whose projector no loss of a phase trains."""
        stages = range(1, model.num_exits + 1)
        exits = phase.exit_probs
        if self.update_scheme == 'skipping':
            exits = (0,) * (model.num_exits - 1) + (1,)
        if (phase.supervision or model.supervision) != 'cumulative':
            return {stage for stage in stages if exits[stage - 1] == 0}
        return {
            stage
            for stage in stages
            if not any(phase.entry_probs[:stage]) or not any(exits[stage - 1 :])
        }

    @staticmethod
    def _scored(model: torch.nn.Module, phase: Phase) -> set[int]:
        """Stages after which a phase chooses windows by their losses."""
        layer = model.crop_layer
        random = (phase.select or getattr(layer, 'select', '')) == 'random'
        if random or not phase.windows or getattr(layer, 'num_candidates', 0) == 1:
            return set()
        return set(model.crop_after)

    @staticmethod
    def _check_windows(model: torch.nn.Module, phase: Phase) -> None:
        if phase.select is None and phase.crop_ratio is None:
            return
        if not hasattr(model.crop_layer, 'changed'):
            raise ValueError(
                f'a phase sets select or crop_ratio, which '
                f'model.crop_layer={model.crop_layer} does not have; set '
                "model.crop_layer=dict(type='HardPairCropLayer') or leave them out"
            )
        layer = model.crop_layer.changed(phase.select, phase.crop_ratio)
        if phase.select in ('hard', 'easy') and layer.num_candidates == 1:
            raise ValueError(
                f'a phase sets select={phase.select!r}, but of one window there is '
                'nothing to choose; set model.crop_layer.num_candidates=2'
            )

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Draw this update's plan and hand it to the model."""
        assert self._seed is not None, 'before_train sets the seed'
        model = get_model(runner.model)
        counts = runner.optim_wrapper._accumulative_counts
        update = runner.iter // counts
        phase = phase_at(self.phases, update * counts / runner.max_iters)
        model.plan = replace(
            self.draw(model, self._seed, update, phase),
            window_seed=(self._seed, runner.iter, get_rank()),
            measure=self.every_n_train_iters(runner, self.measure_interval)
            or runner.iter == 0,
        )
        runner.message_hub.update_scalar('train/exit', model.plan.exit_stage)

    def after_train(self, runner) -> None:
        """Take the plan back."""
        get_model(runner.model).plan = None

    def draw(
        self,
        model: torch.nn.Module,
        seed: int,
        update: int,
        phase: Phase | None = None,
    ) -> StepPlan:
        """Plan of the optimizer update number ``update``, counted from 0.

        The phase is by default the first.
        """
        phase = phase or self.phases[0]
        exits = phase.exit_probs
        generator = derived_generator(PLAN, seed, update)
        if self.update_scheme == 'skipping':
            blocks = _not_adjacent(model.num_blocks, self._share(model), generator)
            return phase.plan(len(exits), blocks=blocks)
        exit_stage = _draw_stage(exits, generator)
        first = _draw_stage(phase.entries(exit_stage), generator)
        return phase.plan(exit_stage, first_stage=first)

    def distribution(self, model: torch.nn.Module, samples: int = 16) -> list:
        """All plans with their probabilities; for ``'skipping'`` an equal sample.

        Returns:
            list[tuple[float, StepPlan]]: Probabilities sum to 1.
        """
        plans = []
        for share, phase in zip(shares(self.phases), self.phases):
            plans += [
                (share * probability, plan)
                for probability, plan in self._in_phase(model, phase, samples)
            ]
        return plans

    def _in_phase(self, model: torch.nn.Module, phase: Phase, samples: int) -> list:
        if self.update_scheme == 'skipping':
            drawn = [self.draw(model, 0, update, phase) for update in range(samples)]
            return [(1 / samples, plan) for plan in drawn]
        return [
            (p * q, phase.plan(exit_stage, first_stage=first))
            for exit_stage, p in enumerate(phase.exit_probs, 1)
            if p > 0
            for first, q in enumerate(phase.entries(exit_stage), 1)
            if q > 0
        ]

    def _share(self, model: torch.nn.Module) -> int:
        return self.num_blocks or max(1, round(model.num_blocks / 3))


def _draw_stage(probs: Sequence[float], generator: torch.Generator) -> int:
    weights = torch.tensor(probs, dtype=torch.float64)
    return int(torch.multinomial(weights, 1, generator=generator)) + 1


def _not_adjacent(
    total: int, number: int, generator: torch.Generator
) -> tuple[int, ...]:
    """Draw uniformly among the sets of ``number`` blocks without neighbours.

    Sets of m out of n without neighbours are sets of m out of n - m + 1, spread by
    one place after each element.
    """
    spread = torch.randperm(total - number + 1, generator=generator)[:number]
    return tuple(int(block) + i for i, block in enumerate(spread.sort().values))
