"""Old names of arguments, which keep working for one version."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any


def renamed(**names: str) -> Callable[[Callable], Callable]:
    """Let a function take arguments by their old names, with a warning.

    Args:
        **names (str): Old name to the present one.

    Raises:
        TypeError: When the function is called with both names of an argument.
    """

    def decorate(function: Callable) -> Callable:
        @wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            for old in [name for name in names if name in kwargs]:
                new = names[old]
                if new in kwargs:
                    raise TypeError(f'{old} is the old name of {new}; give {new} alone')
                warnings.warn(
                    f'{old} is now called {new}; the old name works until the next '
                    'version',
                    FutureWarning,
                    stacklevel=2,
                )
                kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        return wrapper

    return decorate


def schedule_from_phases(
    phases: Sequence[Mapping[str, Any]], **first: Any
) -> list[dict[str, Any]]:
    """A schedule from version 0.1's ``phases``, which inherited what they left out.

    Args:
        phases (Sequence[Mapping]): Each with ``begin`` and what changes then.
        **first: Arguments of the first stage.
    """
    warnings.warn(
        'phases and entry_probs are now stages of schedule (see '
        'mmaccel.engine.schedule); the old names work until the next version',
        FutureWarning,
        stacklevel=3,
    )
    stages, begins = [dict(first)], [0.0]
    for phase in phases:
        change = dict(phase)
        begin = change.pop('begin')
        if 'supervision' in change:
            change['loss_on'] = change.pop('supervision')
        if begin == 0:
            stages[0].update(change)
        else:
            stages.append({**stages[-1], **change})
            begins.append(begin)
    for stage, until in zip(stages, [*begins[1:], 1.0]):
        stage['until'] = until
    return stages
