"""Whether a schedule and a model go together."""

from collections.abc import Sequence
from typing import Any

from mmaccel.errors import ConfigError

from .schedule import TrainingStage


def check_schedule(schedule: Sequence[TrainingStage], model: Any) -> None:
    """Reject a schedule that an Accel model cannot follow.

    Args:
        schedule (Sequence[TrainingStage]): Of the training.
        model (nn.Module): The Accel model, not wrapped.

    Raises:
        ConfigError: Naming the setting to change.
    """
    exits = model.num_exits
    for stage in schedule:
        number = len(stage.exit_probs)
        if number != exits:
            uniform = (round(1 / exits, 4),) * exits
            raise ConfigError(
                f'exit_probs has {number} values but the model has {exits} '
                f'exits; give one per exit, such as exit_probs={uniform}'
            )
        if len(stage.entry_probs) > exits:
            raise ConfigError(
                f'entry_probs has {len(stage.entry_probs)} values but the model '
                f'has {exits} stages; give at most one per stage'
            )
        if isinstance(stage.view_scale, tuple) and not hasattr(model, 'two_sizes'):
            raise ConfigError(
                f'view_scale={stage.view_scale} gives two views a size each, which '
                f'{type(model).__name__} cannot; give one view_scale'
            )
    unfilled = set().union(
        *(_untrained(stage, model) & _scored(stage, model) for stage in schedule)
    )
    if unfilled and getattr(model, 'key_forward', 'full') == 'truncated':
        raise ConfigError(
            f'windows after stage {min(unfilled)} are scored '
            "against a queue that key_forward='truncated' does not fill while the "
            "stage has no loss; set model.key_forward='full', or "
            "model.loss_on='cumulative'"
        )


def untrained_choosers(schedule: Sequence[TrainingStage], model: Any) -> set[int]:
    """Stages whose projector chooses windows although no loss ever trains it."""
    scored = set().union(*(_scored(stage, model) for stage in schedule))
    return scored.intersection(*(_untrained(stage, model) for stage in schedule))


def _untrained(stage: TrainingStage, model: Any) -> set[int]:
    """Stages of the network whose projector no loss trains meanwhile."""
    trained = stage.stages_with_loss(model.loss_on == 'cumulative')
    return set(range(1, model.num_exits + 1)) - trained


def _scored(stage: TrainingStage, model: Any) -> set[int]:
    """Stages of the network after which windows are chosen by their losses."""
    scores = getattr(model.crop_layer, 'scores', False) and stage.windows
    return set(model.crop_after) if scores else set()
