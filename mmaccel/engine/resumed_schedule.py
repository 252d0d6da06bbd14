"""The config's schedule for a run that is resumed."""

from typing import Any

from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from mmengine.runner import EpochBasedTrainLoop, Runner

from mmaccel.errors import ConfigError

#: How far a scheduler is and where it began, beside what it was told.
_POSITION = {'last_step', '_global_step', '_last_value', 'base_values', 'verbose'}


def use_config_schedule(runner: Runner, checkpoint: dict[str, Any]) -> None:
    """Let the config's learning rate, momentum and their schedules hold on resume.

    MMEngine takes all of them from the checkpoint, whatever the config says. Where the
    config says the same, so does this. Where it says something else, the config's
    schedule is run to the resumed position and takes the place of the checkpoint's.

    Args:
        runner (Runner): About to resume, its optimizer and schedulers just built.
        checkpoint (dict): What it resumes from, changed in place.

    Raises:
        ConfigError: If a changed schedule depends on what was measured before.
    """
    optim = runner.optim_wrapper
    saved = checkpoint.get('optimizer') or {}
    if not isinstance(optim, OptimWrapper) or 'param_groups' not in saved:
        return
    groups, schedulers = optim.param_groups, runner.param_schedulers or []
    old, new = saved['param_groups'], [_without_params(group) for group in groups]
    states = checkpoint.get('param_schedulers') or []
    if len(old) != len(new) or not isinstance(schedulers, list):
        return  # of another optimizer, which MMEngine refuses
    changed = _changes(
        [_settings(group) for group in old], [_settings(group) for group in new]
    )
    changed |= _changes(
        [_told(state) for state in states], [_told(s.state_dict()) for s in schedulers]
    )
    if len(states) != len(schedulers):
        changed.add('param_scheduler')
    if not changed:
        return
    _run_to(runner, checkpoint)
    for group, fresh in zip(old, groups):
        group.update(_without_params(fresh))
    checkpoint['param_schedulers'] = [s.state_dict() for s in schedulers]
    print_log(
        f'The config changes {", ".join(sorted(changed))} of the resumed run: its '
        f'schedule holds from here on, learning rate {groups[0]["lr"]:.6g}',
        logger='current',
    )


def _without_params(group: dict) -> dict:
    return {key: value for key, value in group.items() if key != 'params'}


def _settings(group: dict) -> dict:
    """What the config says of a group: the first values of what is scheduled."""
    return {
        key: value
        for key, value in _without_params(group).items()
        if f'initial_{key}' not in group
    }


def _told(state: dict) -> dict:
    """What a scheduler was told, apart from how far it is."""
    return {key: value for key, value in state.items() if key not in _POSITION}


def _changes(old: list[dict], new: list[dict]) -> set[str]:
    return {
        key.removeprefix('initial_')
        for before, now in zip(old, new)
        for key in {*before, *now}
        if not _same(before.get(key), now.get(key))
    }


def _same(before: Any, now: Any) -> bool:
    if isinstance(before, (list, tuple)) and isinstance(now, (list, tuple)):
        return len(before) == len(now) and all(map(_same, before, now))
    return before == now


def _run_to(runner: Runner, checkpoint: dict) -> None:
    """Step fresh schedulers as a training up to the resumed position would have."""
    schedulers: Any = runner.param_schedulers or []
    if any(hasattr(scheduler, 'monitor') for scheduler in schedulers):
        raise ConfigError(
            'the config changes the schedule of the run, and ReduceOnPlateau cannot '
            'be run to the resumed position; resume with the settings that it was '
            'started with, or start anew from its weights with load_from'
        )
    meta = checkpoint['meta']
    epochs, iterations = meta['epoch'], meta['iter']
    if isinstance(runner.train_loop, EpochBasedTrainLoop):
        length, then = len(runner.train_loop.dataloader), _old_epoch_length(checkpoint)
        if then and then != length:  # the loop continues at this part of the epoch
            done = (iterations - epochs * then) * length // then
            iterations = epochs * length + done
    for scheduler in schedulers:
        for _ in range(epochs if scheduler.by_epoch else 0):
            scheduler.step()
    for _ in range(iterations):
        for scheduler in schedulers:
            if not scheduler.by_epoch:
                scheduler.step()


def _old_epoch_length(checkpoint: dict) -> int:
    info = checkpoint.get('message_hub', {}).get('runtime_info', {})
    epochs, iterations = info.get('max_epochs'), info.get('max_iters')
    return iterations // epochs if epochs and iterations else 0
