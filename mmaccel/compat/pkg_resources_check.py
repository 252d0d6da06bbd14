"""MMEngine resolves ``mmselfsup::`` bases through ``pkg_resources``.

setuptools 82 removed that module, and the failure then names neither setuptools nor
a remedy. There is nothing to patch: this only says early what to install.
"""

import warnings

REMEDY = "pip install 'setuptools<81'"


def is_needed() -> bool:
    """Tell whether ``pkg_resources`` cannot be imported."""
    # setuptools < 81 warns of the removal at each import
    warnings.filterwarnings('ignore', 'pkg_resources is deprecated')
    try:
        import pkg_resources  # noqa: F401
    except ImportError:
        return True
    return False


def apply() -> None:
    """Raise ``ImportError`` with the command that installs ``pkg_resources``."""
    raise ImportError(
        f'`pkg_resources` is missing and mmengine needs it; run: {REMEDY}'
    )
