"""Say what is installed, what is supported, what was patched, and how to repair it.

The exit code is 0 only if pretraining can run here. It works where packages are missing
or cannot be imported: that is what it is for.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import shlex
import sys
import warnings
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from mmaccel import _startup
from mmaccel.compat import PATCHES, patch_report
from mmaccel.version import __version__

EXAMPLES = """\
  mmaccel doctor
  mmaccel doctor --json > environment.json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument('--json', action='store_true', help='print one JSON object')


def run(args: argparse.Namespace) -> int:
    """Report; return 0 only if pretraining can run."""
    report = diagnose()
    if args.json:
        print(json.dumps(report, indent=2))
    else:
        print_report(report)
    return 0 if report['ok'] else 1


# by its path: `python` may be another interpreter than the one examined
PIP = f'{shlex.quote(sys.executable)} -m pip'

#: Python versions with a pinned set: constraints.txt, constraints-era.txt.
PYTHON_FROM, PYTHON_BELOW = (3, 10), (3, 13)
PYTHON = f'>={".".join(map(str, PYTHON_FROM))},<{".".join(map(str, PYTHON_BELOW))}'

#: Whether the repository is here, with its scripts, or the package alone.
IN_CHECKOUT = (Path(__file__).resolve().parents[2] / 'tools/env.sh').is_file()


@dataclass(frozen=True)
class Package:
    """What mmaccel expects of a package; the ranges are those of requirements.txt.

    Args:
        name: Its name in the report.
        module: What importing it must make work.
        supported: Version specifier; empty if any will do.
        distributions: The names it may be installed under; the first is suggested.
        required: False if only the transfer experiments need it.
        also: Packages that it imports without requiring them.
    """

    name: str
    module: str
    supported: str = ''
    distributions: tuple[str, ...] = ()
    required: bool = True
    also: tuple[str, ...] = ()

    @property
    def candidates(self) -> tuple[str, ...]:
        """The distribution names to look for."""
        return self.distributions or (self.name,)

    @property
    def install(self) -> str:
        """The command that installs a supported version."""
        names = (f"'{self.candidates[0]}{self.supported}'", *self.also)
        return f'{PIP} install {" ".join(names)}'


OPENCV = ('opencv-python', 'opencv-python-headless')
PACKAGES = (
    Package('packaging', 'packaging.specifiers'),  # without it no version is compared
    Package('setuptools', 'pkg_resources', '<81'),
    Package('torch', 'torch', '>=2.0'),
    Package('torchvision', 'torchvision', '>=0.15'),
    Package('numpy', 'numpy', '>=1.22'),
    Package(
        'opencv',
        'cv2',
        distributions=(
            *OPENCV,
            'opencv-contrib-python',
            'opencv-contrib-python-headless',
        ),
    ),
    Package('pillow', 'PIL.Image'),
    Package(
        'mmengine',
        'mmengine',
        '>=0.10.7,<1.0',
        distributions=('mmengine', 'onedl-mmengine'),
    ),
    Package(
        'mmcv',
        'mmcv',
        '>=2.0.1,<2.1',
        distributions=('mmcv-lite', 'mmcv', 'onedl-mmcv'),
    ),
    Package('mmcls', 'mmcls', '==1.0.0rc6'),
    Package('mmselfsup', 'mmselfsup', '==1.0.0'),
    Package(
        'mmpretrain',
        'mmpretrain',
        '>=1.2.0,<2',
        distributions=('mmpretrain', 'onedl-mmpretrain'),
    ),
    Package('mmdet', 'mmdet.models', '==3.3.0', required=False),
    Package(
        'mmsegmentation',
        'mmseg.models',
        '==1.2.2',
        required=False,
        also=('ftfy', 'regex'),
    ),
)


#: What each host needs beside the others, and the mmcv that it accepts.
_HOSTS = {
    'mmselfsup': (('mmcls', 'mmselfsup'), '>=2.0.1,<2.1'),
    'mmpretrain': (('mmpretrain',), '>=2.0.1,<2.4'),
}


def needed() -> list[Package]:
    """The packages that this environment needs: one host is enough.

    Without any, MMSelfSup is asked for.
    """
    installed = [p.name for p in PACKAGES if p.name in _HOSTS and _installed(p)]
    hosts = installed or ['mmselfsup']
    absent = {x for name in _HOSTS if name not in hosts for x in _HOSTS[name][0]}
    mmcv = _HOSTS[hosts[0]][1]
    return [
        replace(package, supported=mmcv) if package.name == 'mmcv' else package
        for package in PACKAGES
        if package.name not in absent
    ]


@dataclass
class CheckResult:
    """What was found of a package, and the command that repairs it if need be."""

    name: str
    version: str | None
    supported: str
    required: bool
    problem: str | None = None
    remedy: str | None = None
    import_error: str | None = None
    waits_for: str | None = None


def examine(package: Package) -> CheckResult:
    """Look for ``package``, compare its version and import it.

    Note:
        Importing is the only proof that an installed package works here; it runs the
        package's own version checks.
    """
    installed = _installed(package)
    result = CheckResult(
        package.name,
        ', '.join(f'{version} ({name})' for name, version in installed.items())
        if package.distributions
        else next(iter(installed.values()), None),
        package.supported or 'any',
        package.required,
    )
    result.version = result.version or None

    if package.name in ('mmcv', 'mmengine', 'mmpretrain') and len(installed) > 1:
        result.problem = (
            f'{" and ".join(sorted(installed))} both provide the module {package.name}'
        )
        result.remedy = (
            f'{PIP} uninstall -y {" ".join(sorted(installed))} && {package.install}'
        )
        return result

    for version in installed.values():
        if not _is_within(version, package.supported):
            result.problem = f'{version} is outside {package.supported}'
            result.remedy = package.install
            if 'mmcv' in installed:  # mmcv-lite would not replace it
                result.remedy = f'{PIP} uninstall -y mmcv && {package.install}'
            return result

    error = result.import_error = _import_error(package.module)
    if error and not installed:
        result.problem = 'not installed'
        result.remedy = package.install
    elif error:
        result.problem = f'cannot be imported: {error}'
        result.remedy = f'{package.install} --force-reinstall'
        if package.name == 'opencv' and 'shared object' in error:
            # without a desktop's libraries; laid over it, mmengine's need stays met
            result.remedy = (
                f'{PIP} install --force-reinstall --no-deps '
                f'opencv-python-headless=={next(iter(installed.values()))}'
            )
        missing = _missing_module(error)
        if missing:
            names = package.also if missing in package.also else (missing,)
            result.remedy = f'{PIP} install {" ".join(names)}'
    return result


def examine_python() -> CheckResult:
    """Compare the interpreter with the versions that the pinned sets are for."""
    version = platform.python_version()
    result = CheckResult('python', version, PYTHON, required=True)
    if not PYTHON_FROM <= sys.version_info < PYTHON_BELOW:
        result.problem = f'{version} is outside {PYTHON}'
        result.remedy = (
            'PYTHON=python3.11 bash tools/env.sh'
            if IN_CHECKOUT
            else 'python3.11 -m venv ENV, and install mmaccel[lite] there'
        )
    return result


def compiled_ops() -> dict[str, str]:
    """Tell which ``mmcv._ext`` answers, and what to do about one that cannot."""
    try:
        from mmaccel.compat.mmcv_ops import has_compiled_ops

        compiled = has_compiled_ops()
    except Exception:
        return {'kind': 'none'}
    if not compiled:
        return {'kind': 'stand-in', 'detail': 'nms and RoIAlign by torchvision'}
    error = _import_error('mmcv._ext')
    if error:
        return {
            'kind': 'broken',
            'detail': error,
            'remedy': f'{PIP} uninstall -y mmcv && {PIP} install mmcv-lite==2.0.1',
        }
    return {'kind': 'compiled'}


def devices() -> dict[str, Any]:
    """List what a training can run on and communicate by."""
    try:
        import torch
        from torch import distributed as dist
    except Exception:
        return {'cpu_cores': os.cpu_count()}
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    has_dist = dist.is_available()
    return {
        'cpu_cores': os.cpu_count(),
        'torch_built_for_cuda': torch.version.cuda,
        'gpus': [torch.cuda.get_device_name(i) for i in gpus],
        'gloo': has_dist and dist.is_gloo_available(),
        'nccl': has_dist and dist.is_nccl_available(),
    }


def diagnose() -> dict[str, Any]:
    """Collect everything the doctor reports, ready for JSON.

    Returns:
        ``ok`` (pretraining can run), ``mmaccel`` (version), ``packages`` (one
        :class:`CheckResult` each), ``patches``, ``ops``, ``devices``, ``problems`` and
        ``notes`` (each ``{what, remedy}``).
    """
    failure = None
    try:
        _startup.start()
    except ImportError as error:
        failure = error.__cause__
    results = [examine_python(), *(examine(package) for package in needed())]
    _blame_the_first(results)
    ops = compiled_ops()
    problems: list[dict[str, Any]] = []
    notes: list[dict[str, Any]] = []
    for result in results:
        if result.problem and not result.waits_for:
            entry = {
                'what': f'{result.name}: {result.problem}',
                'remedy': result.remedy,
            }
            (problems if result.required else notes).append(entry)
    if ops['kind'] == 'broken':
        what = f'compiled mmcv ops: cannot be imported: {ops["detail"]}'
        notes.append({'what': what, 'remedy': ops['remedy']})
    if failure is not None and not problems:
        problems.append(
            {
                'what': f'mmaccel cannot start: {type(failure).__name__}: {failure}',
                'remedy': f'{PIP} install -c constraints.txt -r requirements.txt '
                "-e '.[mmselfsup]'"
                if IN_CHECKOUT
                else f'{PIP} check',
            }
        )
    return {
        'ok': not problems,
        'mmaccel': __version__,
        'packages': [asdict(result) for result in results],
        'patches': {
            name: {'state': state, 'defect': PATCHES[name]}
            for name, state in patch_report().items()
        },
        'ops': ops,
        'devices': devices(),
        'problems': problems,
        'notes': notes,
    }


def _blame_the_first(results: list[CheckResult]) -> None:
    """Where one package's error stops others from being imported, say so instead."""
    first: dict[str, CheckResult] = {}
    for result in results:
        if result.import_error and result.version:
            cause = first.setdefault(result.import_error, result)
            if cause is not result:
                result.waits_for = cause.name
                result.problem = f'cannot be imported before {cause.name} can'
                result.remedy = cause.remedy


def print_report(report: dict[str, Any]) -> None:
    """Print what :func:`diagnose` found, for people."""
    print(f'mmaccel {report["mmaccel"]}\n')
    width = 2 + max(len(found['version'] or '') for found in report['packages'])
    print(f'{"package":<16}{"found":<{width}}{"supported":<18}')
    for found in report['packages']:
        state = found['problem'] or 'ok'
        print(
            f'{found["name"]:<16}{found["version"] or "-":<{width}}'
            f'{found["supported"]:<18}{state.splitlines()[0]}'
        )
    print('\nupstream defects')
    for name, patch in report['patches'].items():
        state = patch['state'].partition(':')[0]  # what failed is listed below
        print(f'{name:<22}{state:<14}{patch["defect"]}')

    ops, device = report['ops'], report['devices']
    print(f'\ncompiled ops    {ops["kind"]}', end='')
    print(f' ({ops["detail"]})' if 'detail' in ops else '')
    print(f'CPU cores       {device["cpu_cores"]}')
    if 'gpus' in device:
        cuda = device['torch_built_for_cuda'] or 'none'
        print(f'GPUs            {", ".join(device["gpus"]) or "none"} (CUDA {cuda})')
        backends = [name for name in ('gloo', 'nccl') if device[name]]
        print(f'communication   {", ".join(backends) or "none"}')

    for title, entries in (
        ('wrong', report['problems']),
        ('note: transfer experiments only', report['notes']),
    ):
        for entry in entries:
            print(f'\n{title}: {entry["what"]}\n  repair: {entry["remedy"]}')
    if report['ok']:
        print('\npretraining can run')
    else:
        print('\npretraining cannot run before this is repaired')
        if IN_CHECKOUT:
            print('`bash tools/env.sh` makes an environment that has all of it')


def _installed(package: Package) -> dict[str, str]:
    found = {}
    for name in package.candidates:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _is_within(version: str, supported: str) -> bool:
    try:
        from packaging.specifiers import SpecifierSet
    except ImportError:  # which is reported
        return True
    return SpecifierSet(supported).contains(version, prereleases=True)


def _import_error(module: str) -> str | None:
    """Import ``module``; return the error in one line, or None if it works."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            importlib.import_module(module)
    except Exception as error:  # version checks upstream are plain assertions
        return ' '.join(f'{type(error).__name__}: {error}'.split())
    return None


def _missing_module(error: str) -> str | None:
    """Name the top-level module that ``error`` of an import says is missing."""
    prefix = "ModuleNotFoundError: No module named '"
    if not error.startswith(prefix):
        return None
    return error[len(prefix) :].split("'")[0].split('.')[0]
