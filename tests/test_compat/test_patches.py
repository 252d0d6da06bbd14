"""Each defect is there without its patch, and gone with it."""

import json
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pytest
import torch
from packaging.version import Version

from mmaccel import compat

# By patch: the stacks that have the defect, and the error it shows.
DEFECTS = {
    'mmcv_ops': (
        lambda: not is_installed('mmcv'),
        "ModuleNotFoundError: No module named 'mmcv._ext'",
    ),
    'safe_checkpoints': (
        lambda: Version(torch.__version__) >= Version('2.6'),
        'UnpicklingError: Weights only load failed',
    ),
    'registry_locations': (
        lambda: Version(version('mmselfsup')) == Version('1.0.0'),
        "ModuleNotFoundError: No module named 'mmselfsup.engine.runner'",
    ),
    'package_configs': (
        lambda: True,
        'AssertionError: mmengine does not support to load mmaccel config',
    ),
    'hue_overflow': (lambda: Version(np.__version__) >= Version('2'), 'OverflowError'),
    'grey_jitter': (lambda: True, 'ValueError'),
    'collate_scope': (
        lambda: Version(version('mmengine')) <= Version('0.10.7'),
        "TypeError: default_collate() got an unexpected keyword argument '_scope_'",
    ),
}


def is_installed(distribution):
    try:
        return bool(version(distribution))
    except PackageNotFoundError:
        return False


@pytest.fixture(scope='module')
def probed():
    probe = Path(__file__).with_name('probe.py')
    done = subprocess.run(
        [sys.executable, str(probe)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize('name', DEFECTS)
def test_defect_is_there_before_the_patch_and_not_after_it(probed, name):
    has_defect, error = DEFECTS[name]
    found = probed[name]

    if has_defect():
        assert found['before'].startswith(error), 'upstream no longer needs this patch'
        assert found['needed']
    else:
        assert found['before'] is None and not found['needed']
    assert found['after'] is None and not found['needed_after']


def test_pretraining_does_not_import_mmdet(probed):
    if not DEFECTS['mmcv_ops'][0]():
        pytest.skip('with compiled ops mmselfsup imports mmdet itself')
    assert not probed['mmdet_in_pretraining']


@pytest.mark.parametrize('package', ['mmdet', 'mmseg'])
def test_transfer_packages_can_be_imported(probed, package):
    if probed[package] == 'not installed':
        pytest.skip(f'{package} is not installed')
    if 'ftfy' in (probed[package] or ''):
        pytest.skip('mmseg needs ftfy, which is not installed')
    assert probed[package] is None


def test_detection_configs_get_the_extra_norm_layer(probed):
    if probed['mmdet'] is not None:
        pytest.skip('mmdet cannot be imported')
    assert probed['extra_norm'] is None


def test_report_names_every_patch_and_stays_the_same():
    first = compat.apply_patches()

    assert list(first) == list(compat.PATCHES)
    assert set(first.values()) <= {'applied', 'not needed'}
    assert compat.apply_patches() == first == compat.patch_report()


def test_report_says_which_patch_failed(monkeypatch):
    def fail():
        raise RuntimeError('no luck')

    monkeypatch.setattr(compat, '_report', dict.fromkeys(compat.PATCHES, 'not tried'))
    monkeypatch.setattr('mmaccel.compat.registry_locations.is_needed', fail)

    with pytest.raises(RuntimeError, match='no luck'):
        compat.apply_patches()
    report = compat.patch_report()
    states = list(report.values())
    failed = states.index('failed: RuntimeError: no luck')
    assert set(states[:failed]) <= {'applied', 'not needed'}
    assert set(states[failed + 1 :]) == {'not tried'}


def test_missing_pkg_resources_stops_with_the_remedy(monkeypatch):
    from mmaccel.compat import pkg_resources_check

    assert not pkg_resources_check.is_needed()
    monkeypatch.setitem(sys.modules, 'pkg_resources', None)
    assert pkg_resources_check.is_needed()
    with pytest.raises(ImportError, match="pip install 'setuptools<81'"):
        pkg_resources_check.apply()
