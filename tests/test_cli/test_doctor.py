"""The doctor works on broken stacks, names one command for each fault, and its code."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from mmaccel import _startup
from mmaccel.cli import doctor

ROOT = Path(__file__).resolve().parents[2]


def run(*args, flags=(), path=()):
    """Run Python in another folder, with ``path`` before the repository."""
    environment = dict(
        os.environ,
        PYTHONPATH=os.pathsep.join([*map(str, path), str(ROOT)]),
        OMP_NUM_THREADS='1',
    )
    return subprocess.run(
        [sys.executable, *flags, *args],
        env=environment,
        cwd='/',
        capture_output=True,
        text=True,
        timeout=300,
    )


def found(report, name):
    return next(entry for entry in report['packages'] if entry['name'] == name)


def fake(folder, distribution, version, module=None, content=''):
    """Put a package into ``folder`` that hides the real one."""
    info = folder / f'{distribution.replace("-", "_")}-{version}.dist-info'
    info.mkdir(parents=True)
    (info / 'METADATA').write_text(
        f'Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n'
    )
    if module:
        (folder / f'{module}.py').write_text(content)


def test_on_this_stack_pretraining_can_run():
    done = run('-m', 'mmaccel.doctor', '--json')

    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report['ok'] and not report['problems']
    assert set(report['patches']) == set(doctor.PATCHES)
    for patch in report['patches'].values():
        assert patch['state'] in ('applied', 'not needed')
    assert report['ops']['kind'] in ('compiled', 'stand-in')
    assert report['devices']['gloo'] is True
    for package in doctor.needed():
        if package.required:
            assert found(report, package.name)['version']


def test_with_nothing_installed_it_names_a_command_for_each_package():
    done = run('-m', 'mmaccel', 'doctor', '--json', flags=['-S'])  # no site-packages

    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert not report['ok']
    names = {x['what'].partition(':')[0] for x in report['problems']}
    assert names == {
        p.name for p in doctor.PACKAGES if p.required and p.name != 'mmpretrain'
    }
    assert 'packaging' in names  # by which versions are compared
    remedies = ' '.join(entry['remedy'] for entry in report['problems'])
    assert "'mmcv-lite>=2.0.1,<2.1'" in remedies
    assert sys.executable in remedies
    assert [x['what'] for x in report['notes']] == [
        'mmdet: not installed',
        'mmsegmentation: not installed',
    ]


@pytest.mark.parametrize('version', [(3, 9, 19), (3, 13, 0)])
def test_pythons_without_a_pinned_set_are_refused(monkeypatch, version):
    monkeypatch.setitem(sys.modules, 'packaging.specifiers', None)  # missing
    monkeypatch.setattr(doctor.sys, 'version_info', version)

    found = doctor.examine_python()

    assert doctor.PYTHON in found.problem
    assert 'tools/env.sh' in found.remedy
    monkeypatch.setattr(doctor, 'IN_CHECKOUT', False)  # a wheel has no such script
    assert 'tools/' not in doctor.examine_python().remedy


def test_text_names_fault_and_command():
    done = run('-m', 'mmaccel.doctor', flags=['-S'])

    assert done.returncode == 1
    assert 'wrong: torch: not installed' in done.stdout
    assert "pip install 'torch>=2.0'" in done.stdout
    assert 'pretraining cannot run' in done.stdout
    assert 'Traceback' not in done.stdout + done.stderr


def test_importing_a_broken_stack_names_the_doctor():
    done = run('-c', 'import mmaccel', flags=['-S'])

    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith('ImportError: mmaccel cannot start')
    assert 'mmaccel doctor' in last


def test_a_package_too_new_is_named_with_its_range(tmp_path):
    fake(
        tmp_path,
        'mmselfsup',
        '2.0.0',
        'mmselfsup',
        "raise AssertionError('MMEngine is incompatible')",
    )

    done = run('-m', 'mmaccel', 'doctor', '--json', path=[tmp_path])

    assert done.returncode == 1
    report = json.loads(done.stdout)
    (problem,) = report['problems']
    assert problem['what'] == 'mmselfsup: 2.0.0 is outside ==1.0.0'
    assert problem['remedy'].endswith("pip install 'mmselfsup==1.0.0'")
    assert 'AssertionError' in report['patches']['mmcv_ops']['state']


def test_ranges_are_those_of_the_requirements():
    lines = (ROOT / 'requirements.txt').read_text().splitlines()
    text = (ROOT / 'pyproject.toml').read_text()
    for host in ('mmselfsup', 'mmpretrain'):
        (extra,) = re.findall(rf'^{host} = (\[.*\])$', text, re.M)
        lines += json.loads(extra)
    parsed = [Requirement(x) for x in lines if x and not x.startswith('#')]
    ranges = {x.name: x.specifier for x in parsed}
    for package in doctor.PACKAGES:
        if package.required:
            name = {'mmcv': 'mmcv-lite'}.get(package.name, package.name)
            if name == 'opencv':  # mmengine's requirement
                continue
            supported = Requirement(f'x{package.supported}').specifier
            assert supported == ranges[name], name


@pytest.mark.parametrize(
    'hosts, names, mmcv',
    [
        (['mmselfsup', 'mmcls'], {'mmselfsup', 'mmcls'}, '<2.1'),
        (['mmpretrain'], {'mmpretrain'}, '<2.4'),
        (['onedl-mmpretrain'], {'mmpretrain'}, '<2.4'),
        (['mmselfsup', 'mmpretrain'], {'mmselfsup', 'mmcls', 'mmpretrain'}, '<2.1'),
        ([], {'mmselfsup', 'mmcls'}, '<2.1'),
    ],
)
def test_one_host_is_enough(monkeypatch, hosts, names, mmcv):
    with_versions(monkeypatch, **{name.replace('-', '_'): '1.0' for name in hosts})
    packages = {package.name: package for package in doctor.needed()}
    assert {'mmselfsup', 'mmcls', 'mmpretrain'} & set(packages) == names
    assert packages['mmcv'].supported.endswith(mmcv)


def with_versions(monkeypatch, **versions):
    """Let ``importlib.metadata`` know these distributions only."""

    def version(name):
        try:
            return versions[name.replace('-', '_')]
        except KeyError:
            raise doctor.metadata.PackageNotFoundError(name) from None

    monkeypatch.setattr(doctor.metadata, 'version', version)


def package(name):
    return next(p for p in doctor.PACKAGES if p.name == name)


@pytest.mark.parametrize(
    'name, versions, problem, remedy',
    [
        ('torch', dict(torch='2.1.0+cu121'), None, None),
        (
            'mmcv',
            dict(mmcv='2.0.1', mmcv_lite='2.0.1'),
            'mmcv and mmcv-lite both provide the module mmcv',
            'uninstall -y mmcv mmcv-lite && ',
        ),
        (
            'mmcv',
            dict(mmcv='2.2.0'),
            '2.2.0 is outside >=2.0.1,<2.1',
            'uninstall -y mmcv && ',
        ),
    ],
)
def test_versions_are_compared_with_their_range(
    monkeypatch, name, versions, problem, remedy
):
    with_versions(monkeypatch, **versions)
    found = doctor.examine(package(name))
    assert found.problem == problem
    assert remedy is None or remedy in found.remedy


@pytest.mark.parametrize(
    'name, versions, error, remedy',
    [
        (
            'opencv',
            dict(opencv_python='5.0.0'),
            'ImportError: libGL.so.1: cannot open shared object file',
            '--no-deps opencv-python-headless==5.0.0',
        ),
        (
            'mmsegmentation',
            dict(mmsegmentation='1.2.2'),
            "ModuleNotFoundError: No module named 'ftfy'",
            'pip install ftfy regex',
        ),
        (
            'mmengine',
            dict(mmengine='0.10.7'),
            "ModuleNotFoundError: No module named 'addict.sub'",
            'pip install addict',
        ),
        (
            'torchvision',
            dict(torchvision='0.15'),
            'RuntimeError: operator torchvision::nms does not exist',
            "pip install 'torchvision>=0.15' --force-reinstall",
        ),
    ],
)
def test_what_cannot_be_imported_gets_its_remedy(
    monkeypatch, name, versions, error, remedy
):
    with_versions(monkeypatch, **versions)
    monkeypatch.setattr(doctor, '_import_error', lambda module: error)

    finding = doctor.examine(package(name))

    assert finding.problem == f'cannot be imported: {error}'
    assert finding.remedy.endswith(remedy)


def test_one_fault_is_reported_once(monkeypatch):
    with_versions(
        monkeypatch, opencv_python='5.0.0', mmcv_lite='2.0.1', mmcls='1.0.0rc6'
    )
    error = 'ImportError: libGL.so.1: cannot open shared object file'
    monkeypatch.setattr(doctor, '_import_error', lambda module: error)
    packages = [package(name) for name in ('opencv', 'mmcv', 'mmcls')]
    monkeypatch.setattr(doctor, 'PACKAGES', packages)

    report = doctor.diagnose()

    assert [x['what'].partition(':')[0] for x in report['problems']] == ['opencv']
    assert found(report, 'mmcls')['problem'] == 'cannot be imported before opencv can'


def test_a_failure_without_a_faulty_package_is_reported(monkeypatch):
    def start():
        raise ImportError('mmaccel cannot start') from RuntimeError('something new')

    monkeypatch.setattr(_startup, 'start', start)
    monkeypatch.setattr(doctor, 'PACKAGES', ())

    report = doctor.diagnose()

    (problem,) = report['problems']
    assert problem['what'] == 'mmaccel cannot start: RuntimeError: something new'


def test_missing_transfer_packages_are_only_a_note(monkeypatch):
    with_versions(monkeypatch)
    monkeypatch.setattr(doctor, '_import_error', lambda module: 'ImportError: gone')
    monkeypatch.setattr(doctor, 'PACKAGES', [package('mmdet')])

    report = doctor.diagnose()

    assert report['ok']
    assert report['notes'][0]['remedy'].endswith("pip install 'mmdet==3.3.0'")
