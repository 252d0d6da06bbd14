"""What ``import mmaccel`` does: patch the stack, then register every component.

It lives outside ``__init__`` so that ``python -m mmaccel.doctor``, whose run begins
with ``import mmaccel``, can still start when the stack is broken and say why.
"""

from __future__ import annotations

import sys
from importlib import import_module

_SUB_PACKAGES = (
    'mmaccel.models',
    'mmaccel.datasets',
    'mmaccel.engine',
    'mmaccel.evaluation',
)

#: What stopped the last :func:`start`; only ever set while the doctor runs.
failure: Exception | None = None


def start() -> None:
    """Apply the patches and import the sub-packages, which registers their members.

    Raises:
        ImportError: If anything fails, naming the doctor as the remedy. While the
            doctor itself runs the error is kept in ``failure`` for it instead.

    Note:
        Patches the installed packages in memory (see :mod:`mmaccel.compat`).
    """
    global failure
    try:
        from mmaccel.compat import apply_patches

        apply_patches()
        for name in _SUB_PACKAGES:
            import_module(name)
    except Exception as error:  # version checks upstream are plain assertions
        if doctor_is_running():
            failure = error
            return
        raise ImportError(
            f'mmaccel cannot start ({type(error).__name__}: {error}); run '
            '`python -m mmaccel.doctor` to see what to repair'
        ) from error


def doctor_is_running() -> bool:
    """Tell whether this process is ``python -m mmaccel.doctor``.

    While a parent package is imported for ``-m``, ``sys.argv[0]`` is ``'-m'``; the
    module's name is only in ``sys.orig_argv``, which Python 3.8 and 3.9 lack.
    """
    if sys.argv[:1] != ['-m']:
        return False
    command = getattr(sys, 'orig_argv', None)
    return command is None or 'mmaccel.doctor' in command
