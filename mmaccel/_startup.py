"""What ``import mmaccel`` does: patch the stack, then register every component."""

from __future__ import annotations

import sys
from importlib import import_module

_SUB_PACKAGES = (
    'mmaccel.models',
    'mmaccel.datasets',
    'mmaccel.engine',
    'mmaccel.evaluation',
)


def start() -> None:
    """Apply the patches and import the sub-packages, which registers their members.

    Raises:
        ImportError: If anything fails, naming ``mmaccel doctor`` as the remedy.

    Note:
        Patches the installed packages in memory (see :mod:`mmaccel.compat`). A second
        call changes nothing.
    """
    try:
        from mmaccel.compat import apply_patches

        apply_patches()
        for name in _SUB_PACKAGES:
            import_module(name)
        import_module('mmaccel.host').answer_scoped_names()
    except Exception as error:  # version checks upstream are plain assertions
        raise ImportError(
            f'mmaccel cannot start ({type(error).__name__}: {error}); run '
            '`python -m mmaccel doctor` to see what to repair'
        ) from error


def is_command() -> bool:
    """Whether this process is the command ``mmaccel``, which starts by itself.

    That is the console script, a script of ``tools/``, ``python -m mmaccel`` or
    ``python -m mmaccel.doctor``. Worker processes that they spawn are not: these have
    no arguments to read.
    """
    entry = sys.modules.get('mmaccel_cli')
    if entry is not None and entry.running:
        return True
    # while a parent package is imported for `-m`, that is all of sys.argv[0]
    if sys.argv[:1] != ['-m'] or '-m' not in sys.orig_argv:
        return False
    module = sys.orig_argv[sys.orig_argv.index('-m') + 1]
    return module in ('mmaccel', 'mmaccel.doctor')
