"""MMEngine reads ``package::config`` of the packages on its own list only.

``_base_ = 'mmaccel::accel/mocov2_r50_8xb32.py'`` then fails. On the list, it would also
look the components of the config up in a registry called ``mmaccel``; they are in
MMSelfSup's, where a config read by its path finds them.
"""

from pathlib import Path

_NAME = 'mmaccel'
_PACKAGE = Path(__file__).resolve().parents[1]

#: Where ``configs/`` is: in an installed package, in a checkout.
CONFIG_ROOTS = (_PACKAGE / '.mim', _PACKAGE.parent)


def own_config(inside: str) -> str:
    """Find a config of mmaccel by its path in ``configs/``.

    Raises:
        FileNotFoundError: If there is none.
    """
    for root in CONFIG_ROOTS:
        path = root / 'configs' / inside
        if path.is_file():
            return str(path)
    raise FileNotFoundError(f'mmaccel has no config {inside}')


def is_needed() -> bool:
    """Tell whether MMEngine's list lacks mmaccel."""
    from mmengine.config import utils

    return _NAME not in utils.MODULE2PACKAGE


def apply() -> None:
    """Put mmaccel on the list, its configs read as by their path."""
    from mmengine.config import Config, utils

    theirs = Config._get_cfg_path

    def get_cfg_path(cfg_path: str, filename: str) -> tuple[str, str | None]:
        package, _, inside = cfg_path.partition('::')
        if package == _NAME and inside:
            return own_config(inside), None
        return theirs(cfg_path, filename)

    setattr(Config, '_get_cfg_path', staticmethod(get_cfg_path))  # noqa: B010, typed
    utils.MODULE2PACKAGE[_NAME] = _NAME
