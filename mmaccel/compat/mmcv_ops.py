"""``mmcv-lite`` has the Python half of mmcv's ops, but not the compiled half.

Building mmcv takes ten minutes and fails on torch >= 2.1, yet ``mmdet.models`` and
``mmseg.models`` import every op. Without a compiled ``mmcv._ext`` a stand-in is
imported in its place, see :mod:`mmaccel.compat._mmcv_ext`.

The hosts import ``mmdet.models`` wherever that works, as it now does. Pretraining does
not need it, and should neither wait for it nor fail with it, so ``mmdet.models`` is
hidden while their models are imported.
"""

import sys
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import spec_from_file_location
from pathlib import Path

from mmaccel.host import installed

_MODULE = 'mmcv._ext'

_MMDET = 'mmdet.models'

# defines its class only if mmdet.models can be imported
_NEEDS_MMDET = 'models.utils.res_layer_extra_norm'


class _StandInFinder:
    """Finds the stand-in, and only once every other finder has found nothing."""

    @staticmethod
    def find_spec(
        name: str, path: object = None, target: object = None
    ) -> ModuleSpec | None:
        """Find ``mmcv._ext`` alone; nothing is loaded before its first use."""
        if name != _MODULE:
            return None
        return spec_from_file_location(name, Path(__file__).with_name('_mmcv_ext.py'))


def has_compiled_ops() -> bool:
    """Tell whether the installed mmcv brings its own ``mmcv._ext``."""
    import mmcv

    return PathFinder.find_spec(_MODULE, mmcv.__path__) is not None


def is_needed() -> bool:
    """Tell whether there is no ``mmcv._ext``."""
    return _StandInFinder not in sys.meta_path and not has_compiled_ops()


def apply() -> None:
    """Let the stand-in be found, after everything else."""
    sys.meta_path.append(_StandInFinder)
    if _MMDET not in sys.modules:
        _import_without_mmdet()


def _import_without_mmdet() -> None:
    sys.modules[_MMDET] = None  # type: ignore[assignment]  # importing it now fails
    try:
        for host in installed():
            host.module('models')
    finally:
        del sys.modules[_MMDET]
    # a detection config imports this again, then with mmdet
    for host in installed():
        sys.modules.pop(f'{host.name}.{_NEEDS_MMDET}', None)
