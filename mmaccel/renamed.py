"""Old names of arguments, which keep working for one version."""

from __future__ import annotations

import warnings
from functools import wraps
from typing import Any, Callable


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
