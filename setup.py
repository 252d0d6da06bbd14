"""Build the package; its metadata that is computed, and what goes into ``.mim``."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent

#: What mim looks for in ``mmaccel/.mim``.
MIM_CONTENT = ('configs', 'tools', 'model-index.yml')

# Both of them provide the module `mmcv`: requiring one would break who has the other.
MMCV = re.compile(r'mmcv(-lite)?\b')


def version() -> str:
    """Read the version without importing the package."""
    text = (ROOT / 'mmaccel/version.py').read_text(encoding='utf-8')
    return re.search(r"__version__ = '(.+)'", text).group(1)  # type: ignore[union-attr]


def requirements() -> list[str]:
    """Read requirements.txt, less the choice between mmcv-lite and mmcv."""
    lines = (ROOT / 'requirements.txt').read_text(encoding='utf-8').splitlines()
    lines = [line.partition('#')[0].strip() for line in lines]
    return [line for line in lines if line and not MMCV.match(line)]


def long_description() -> str:
    """Read the README where there is one."""
    readme = ROOT / 'README.md'
    return readme.read_text(encoding='utf-8') if readme.exists() else ''


class BuildWithMim(build_py):
    """Put configs and tools into ``mmaccel/.mim``: copied, or linked if editable."""

    def run(self) -> None:
        """Build, then fill ``.mim``; an ordinary build leaves the sources alone."""
        super().run()
        if self.editable_mode:
            self._link(ROOT / 'mmaccel/.mim')
        else:
            self._copy(Path(self.build_lib) / 'mmaccel/.mim')

    @staticmethod
    def _copy(target: Path) -> None:
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for name in MIM_CONTENT:
            source = ROOT / name
            if source.is_dir():
                ignored = shutil.ignore_patterns('__pycache__', '*.py[cod]', '.*')
                shutil.copytree(source, target / name, ignore=ignored)
            elif source.exists():
                shutil.copy(source, target / name)

    @staticmethod
    def _link(target: Path) -> None:
        target.mkdir(exist_ok=True)
        for name in MIM_CONTENT:
            link = target / name
            if link.is_symlink():
                link.unlink()
            if (ROOT / name).exists():
                link.symlink_to(os.path.relpath(ROOT / name, target))


setup(
    name='mmaccel',
    version=version(),
    description='Accelerated contrastive pretraining: a plugin for MMSelfSup',
    long_description=long_description(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    packages=find_packages(include=['mmaccel', 'mmaccel.*']),
    python_requires='>=3.8',
    install_requires=requirements(),
    extras_require={
        'lite': ['mmcv-lite>=2.0.1,<2.1'],
        # augmentations on a GPU (`fast_views`)
        'fast': ['kornia>=0.7'],
        # to write weights for timm, or as safetensors
        'export': ['timm', 'safetensors'],
        # mmsegmentation imports ftfy and regex without requiring them
        'transfer': ['mmdet==3.3.0', 'mmsegmentation==1.2.2', 'ftfy', 'regex'],
    },
    cmdclass={'build_py': BuildWithMim},
    zip_safe=False,
)
