"""The released MMSelfSup 1.0.0 lists a registry location that was never written.

``mmselfsup.engine.runner`` is a location of the RUNNERS, RUNNER_CONSTRUCTORS and
LOOPS registries but not a module, so the first look-up in them, which every training
makes, raises ``ModuleNotFoundError``.
"""

from importlib.util import find_spec

from mmaccel.host import MMSELFSUP

_LOCATION = 'mmselfsup.engine.runner'


def _registries() -> list:
    from mmengine.registry import Registry

    if not MMSELFSUP.is_installed:
        return []
    registry = MMSELFSUP.module('registry')

    return [
        value
        for value in vars(registry).values()
        if isinstance(value, Registry) and _LOCATION in value._locations
    ]


def is_needed() -> bool:
    """Tell whether a registry lists the missing module."""
    return bool(_registries()) and find_spec(_LOCATION) is None


def apply() -> None:
    """Take the missing module off the registries' lists."""
    for registry in _registries():
        registry._locations = [x for x in registry._locations if x != _LOCATION]
