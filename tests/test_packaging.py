"""The wheel: what is in it and nothing else, and that it works on its own."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path
from site import getsitepackages

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from mmaccel import __version__
from mmaccel.cli import doctor
from tests.small_run import write_dataset

ROOT = Path(__file__).resolve().parents[1]
CONSTRAINTS = ('constraints.txt', 'constraints-era.txt')
#: What a wheel does not carry.
CHECKOUT_ONLY = {'tools/env.sh', 'tools/lint.sh', 'tools/test.sh'}
BUILD = """
from setuptools import build_meta
build_meta.build_sdist('dist')
build_meta.build_wheel('dist')
build_meta.build_editable('editable')
"""


def sources(*patterns):
    """Files of the repository, as posix paths."""
    return {
        path.relative_to(ROOT).as_posix()
        for pattern in patterns
        for path in ROOT.glob(pattern)
        if not {'__pycache__', '.mim'} & set(path.parts)
    }


@pytest.fixture(scope='module')
def tree(tmp_path_factory):
    """A copy of the repository with a data set and a run in it, built."""
    tree = tmp_path_factory.mktemp('packaging') / 'repository'
    ignored = shutil.ignore_patterns(
        '.*', 'work_dirs', 'data', 'build', 'dist', '*.egg-info', '__pycache__'
    )
    shutil.copytree(ROOT, tree, ignore=ignored)
    private = ('data/private.py', 'work_dirs/private.pth', 'configs/x/private.pyc')
    for file in private:
        (tree / file).parent.mkdir()
        (tree / file).touch()
    done = subprocess.run(
        [sys.executable, '-c', BUILD], cwd=tree, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return tree


@pytest.fixture(scope='module')
def wheel(tree):
    (path,) = (tree / 'dist').glob('*.whl')
    return path


def test_wheel_has_the_package_configs_and_tools_and_nothing_else(wheel):
    names = {x for x in zipfile.ZipFile(wheel).namelist() if '.dist-info/' not in x}

    mim = sources('configs/**/*.*', 'tools/**/*.*', 'model-index.yml')
    mim -= CHECKOUT_ONLY | sources('tools/quickstart*')
    assert {'tools/train.py', 'configs/accel/mocov2_r50_8xb32.py'} <= mim
    for name in mim:
        if name.startswith('tools/'):
            text = (ROOT / name).read_text()
            assert not [x for x in CHECKOUT_ONLY if x in text], name
            assert 'quickstart.sh' not in text, name
    package = sources('mmaccel_cli.py', 'mmaccel/**/*.py', 'mmaccel/py.typed')
    assert names == package | {f'mmaccel/.mim/{x}' for x in mim}


def test_wheel_metadata(wheel):
    archive = zipfile.ZipFile(wheel)
    (name,) = (x for x in archive.namelist() if x.endswith('.dist-info/METADATA'))
    metadata = Parser().parsestr(archive.read(name).decode())
    requirements = [Requirement(x) for x in metadata.get_all('Requires-Dist')]
    always = {x.name: x for x in requirements if x.marker is None}

    assert metadata['Version'] == __version__
    assert metadata['Author'] == 'mmaccel contributors'
    assert SpecifierSet(metadata['Requires-Python']) == SpecifierSet(doctor.PYTHON)
    assert {'torch', 'mmengine', 'setuptools'} <= set(always)
    # who has compiled mmcv must not be made to install mmcv-lite over it
    assert not {'mmcv', 'mmcv-lite'} & set(always)
    for extra, names in {
        'transfer': {'mmdet', 'mmsegmentation'},
        'mmselfsup': {'mmselfsup', 'mmcls'},
        'mmpretrain': {'mmpretrain'},
    }.items():
        found = {x.name for x in requirements if x.marker and extra in str(x.marker)}
        assert names <= found
    assert any(x.endswith('LICENSE') for x in archive.namelist())


CONFIG = """
_base_ = 'mmaccel::small/accel-mocov2_r18_fashion-mnist_quickstart.py'
train_dataloader = dict(
    batch_size=16,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(data_prefix='images'),
)
train_cfg = dict(max_epochs=1)
default_hooks = dict(knn=dict(interval=0))
"""


def test_installed_alone_it_examines_itself_and_trains_a_users_config(wheel, tmp_path):
    """In an environment that has the stack and the wheel, and knows no checkout."""
    python = tmp_path / 'venv/bin/python'
    folder = tmp_path / 'project'
    write_dataset(folder / 'images', num_train=16)
    environment = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}

    def run(*command):
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    run(sys.executable, '-m', 'venv', '--without-pip', tmp_path / 'venv')
    pip = (sys.executable, '-m', 'pip', '--python', python)
    run(*pip, 'install', '--quiet', '--no-deps', '--no-index', wheel)
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(run(python, '-c', code).strip())
    (folder / 'mine.py').write_text(CONFIG)
    # a folder that a .pth file names is searched, but its own .pth files, such as that
    # of an editable installation, are not read
    (site / 'stack.pth').write_text('\n'.join(getsitepackages()))

    code = "from importlib.util import find_spec; print(find_spec('mmaccel').origin)"
    assert Path(run(python, '-c', code).strip()) == site / 'mmaccel/__init__.py'
    command = python.with_name('mmaccel')
    run(command, 'doctor')
    run(command, 'train', 'mine.py')
    run(python, site / 'mmaccel/.mim/tools/train.py', '--help')
    assert (folder / 'work_dirs/mine/epoch_1.pth').exists()
    weights = 'work_dirs/mine/epoch_1.pth', 'resnet18.pth'
    run(command, 'export', *weights, '--format', 'mmcls')
    assert (folder / 'resnet18.pth').exists()


def test_sdist_can_build_a_wheel_and_holds_nothing_private(tree):
    (path,) = (tree / 'dist').glob('*.tar.gz')
    with tarfile.open(path) as archive:
        names = {x.partition('/')[2] for x in archive.getnames()}

    needed = sources(
        'mmaccel_cli.py', 'mmaccel/**/*.py', 'configs/**/*.*', 'tools/**/*.*'
    )
    assert needed <= names
    assert {'setup.py', 'requirements.txt', 'constraints.txt', 'LICENSE'} <= names
    outside = ('data', 'work_dirs', 'research', 'mmaccel/.mim')
    assert not [x for x in names if x.startswith(outside)]
    assert not [x for x in names if 'private' in x]


def test_editable_installation_links_configs_and_tools(tree):
    for name in ('configs', 'tools'):
        link = tree / 'mmaccel/.mim' / name
        assert link.is_symlink()
        assert link.resolve() == (tree / name).resolve()


def lines(name):
    text = (ROOT / name).read_text()
    return [line for line in text.splitlines() if line and not line.startswith('#')]


@pytest.mark.parametrize('name', CONSTRAINTS)
def test_pinned_sets_satisfy_the_ranges(name):
    pins = {x.name: x for x in map(Requirement, lines(name))}

    required = [*map(Requirement, lines('requirements.txt'))]
    for requirement in required:
        key = requirement.name
        if key == 'mmcv-lite' and key not in pins:
            key = 'mmcv'
        (pin,) = pins[key].specifier
        assert pin.operator == '=='
        assert requirement.specifier.contains(pin.version, prereleases=True), key


@pytest.mark.parametrize('name', [*CONSTRAINTS, 'requirements.txt', 'pyproject.toml'])
def test_no_index_and_no_path_is_named(name):
    text = '\n'.join(lines(name))
    assert '://' not in text
    assert '--' not in text
    assert '@' not in text
