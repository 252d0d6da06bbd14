"""The rooms of the package import one way (docs/architecture.md)."""

import ast
from pathlib import Path

import pytest

import mmaccel

PACKAGE = Path(mmaccel.__file__).parent
#: Rooms from the ground up: each imports only itself and what stands before it.
GROUND = ('errors', 'version', 'renamed', 'fileio', 'seeding', 'hardware', 'host')
ROOMS = ('compat', 'models', 'datasets', 'engine', 'evaluation', 'analysis', 'cli')
#: Rooms that ignore one another, though one stands before the other.
APART = {('engine', 'datasets')}


def imports(path, package=PACKAGE):
    """Modules of mmaccel that a file imports, by their dotted names, with lines."""
    parts = ('mmaccel', *path.relative_to(package).with_suffix('').parts)
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            above = parts[: len(parts) - node.level] if node.level else ()
            module = '.'.join((*above, *filter(None, [node.module])))
            yield module, node.lineno
            if module == 'mmaccel':
                for alias in node.names:
                    yield f'mmaccel.{alias.name}', node.lineno


def room(module):
    """Room of a dotted name; None for one that is not of the package."""
    parts = module.split('.')
    return parts[1] if parts[0] == 'mmaccel' and len(parts) > 1 else None


def upward(package=PACKAGE):
    """Imports that run against the order, as ``file:line imports room``."""
    found = []
    for path in sorted(package.rglob('*.py')):
        here = room(
            '.'.join(('mmaccel', *path.relative_to(package).with_suffix('').parts))
        )
        if '.mim' in path.parts or (here not in GROUND and here not in ROOMS):
            continue  # the package's face and its start stand above all rooms
        order = (*GROUND, *ROOMS)
        below = order[: order.index(here)]
        for module, line in imports(path, package):
            there = room(module)
            known = there in GROUND or there in ROOMS
            if (known and there != here and there not in below) or (
                here,
                there,
            ) in APART:
                found.append(f'{path.relative_to(package)}:{line} imports {there}')
    return found


def test_no_room_imports_from_above():
    assert upward() == []


def test_the_package_imports_no_research():
    """research/ stands outside the wheel; it may import the package."""
    outside = {'research', 'benchmarks', 'tools', 'tests'}
    for path in PACKAGE.rglob('*.py'):
        if '.mim' not in path.parts:
            found = {module.split('.')[0] for module, _ in imports(path)}
            assert not found & outside, path


@pytest.mark.parametrize(
    'file, line',
    [
        ('models/plan.py', 'from mmaccel.engine.config import load_config'),
        ('models/utils/deep.py', 'from ...evaluation import knn'),
        ('engine/loops.py', 'def late():\n    import mmaccel.datasets.load_views'),
        ('errors.py', 'from mmaccel import engine'),
    ],
)
def test_an_import_from_above_is_found(tmp_path, file, line):
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(line + '\n')
    assert len(upward(tmp_path)) == 1


#: Packages that mmaccel is a plugin of, and what they are made of.
HOSTS = {'mmselfsup', 'mmpretrain', 'mmcls'}


def host_imports(package=PACKAGE):
    """Imports of a host outside the host layer and the patches."""
    return [
        f'{path.relative_to(package)}:{line} imports {module}'
        for path in sorted(package.rglob('*.py'))
        if not {'compat', '.mim'} & set(path.parts) and path.name != 'host.py'
        for module, line in imports(path, package)
        if module.split('.')[0] in HOSTS
    ]


def test_no_host_is_imported_outside_the_host_layer():
    assert host_imports() == []


@pytest.mark.parametrize(
    'line',
    [
        'from mmselfsup.registry import MODELS',
        'def late():\n    import mmpretrain.models',
        'from mmcls import datasets',
    ],
)
def test_an_import_of_a_host_is_found(tmp_path, line):
    (tmp_path / 'models').mkdir()
    (tmp_path / 'models/neck.py').write_text(line + '\n')
    assert len(host_imports(tmp_path)) == 1
