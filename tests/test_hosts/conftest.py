"""Tests of this folder run once per host, where it is installed."""

import pytest

from mmaccel import host


@pytest.fixture(params=host.HOSTS, ids=lambda package: package.name)
def package(request):
    """One of the hosts."""
    if not request.param.is_installed:
        pytest.skip(f'{request.param.name} is not installed')
    return request.param


@pytest.fixture
def both():
    """Ask for both hosts in one process."""
    if not all(package.is_installed for package in host.HOSTS):
        pytest.skip('needs mmselfsup and mmpretrain')
