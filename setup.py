"""Build the package: what goes into ``.mim``, and what it requires.

All other metadata is in ``pyproject.toml``.
"""

import os
import re
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent

#: What mim looks for in ``mmaccel/.mim``.
MIM_CONTENT = ('configs', 'tools', 'model-index.yml')
#: Scripts that are of use in a checkout only.
CHECKOUT_ONLY = ('env.sh', 'lint.sh', 'test.sh', 'quickstart*')


def requirements() -> list[str]:
    """Read requirements.txt, without the choice between mmcv-lite and mmcv.

    Both provide the module ``mmcv``: requiring one would break who has the other.
    """
    lines = (ROOT / 'requirements.txt').read_text(encoding='utf-8').splitlines()
    lines = [line.partition('#')[0].strip() for line in lines]
    return [line for line in lines if line and not re.match(r'mmcv(-lite)?\b', line)]


class BuildWithMim(build_py):
    """Put configs and tools into ``mmaccel/.mim``: copied, or linked if editable."""

    def run(self) -> None:
        """Build, then fill ``.mim``; an ordinary build leaves the sources alone."""
        super().run()
        package = ROOT if self.editable_mode else Path(self.build_lib)
        mim = package / 'mmaccel/.mim'
        if not self.editable_mode:
            shutil.rmtree(mim, ignore_errors=True)
        mim.mkdir(parents=True, exist_ok=True)
        for name in MIM_CONTENT:
            source, target = ROOT / name, mim / name
            if not source.exists():
                continue
            if self.editable_mode:
                target.unlink(missing_ok=True)  # a link
                target.symlink_to(os.path.relpath(source, mim))
            elif source.is_dir():
                ignored = shutil.ignore_patterns(
                    '__pycache__', '*.py[cod]', '.*', *CHECKOUT_ONLY
                )
                shutil.copytree(source, target, ignore=ignored)
            else:
                shutil.copy(source, target)


setup(install_requires=requirements(), cmdclass={'build_py': BuildWithMim})
