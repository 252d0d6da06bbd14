"""``mmcv-lite`` has the Python half of mmcv's ops, but not the compiled half.

Building mmcv takes ten minutes and fails on torch >= 2.1, yet ``mmdet.models`` and
``mmseg.models`` import every op. Without a compiled ``mmcv._ext`` a stand-in answers
for it, see :mod:`mmaccel.compat._mmcv_ext`.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import spec_from_file_location
from pathlib import Path

NAME = 'mmcv_ops'
DEFECT = 'mmcv-lite lacks mmcv._ext, which mmdet and mmseg import'

_MODULE = 'mmcv._ext'


class _StandInFinder:
    """Finds the stand-in, and only once every other finder has found nothing."""

    @staticmethod
    def find_spec(name: str, path=None, target=None) -> ModuleSpec | None:
        """Answer for ``mmcv._ext`` alone; nothing is loaded before its first use."""
        if name != _MODULE:
            return None
        return spec_from_file_location(name, Path(__file__).with_name('_mmcv_ext.py'))


def has_compiled_ops() -> bool:
    """Tell whether the installed mmcv brings its own ``mmcv._ext``."""
    import mmcv

    return PathFinder.find_spec(_MODULE, mmcv.__path__) is not None


def is_needed() -> bool:
    """Tell whether nothing answers for ``mmcv._ext``."""
    return _StandInFinder not in sys.meta_path and not has_compiled_ops()


def apply() -> bool:
    """Let the stand-in be found, last of all."""
    if not is_needed():
        return False
    sys.meta_path.append(_StandInFinder)  # type: ignore[arg-type]
    return True
