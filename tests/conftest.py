"""Shared by all tests: one thread, quiet logs, mmaccel registered."""

import random

import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.utils import manager
from mmengine.visualization import Visualizer

import mmaccel  # noqa: F401

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seeded():
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope='session', autouse=True)
def quick_configs():
    """Mmengine formats every config that it prints with yapf, which takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('mmengine.config.config.FormatCode', lambda text, **_: (text, 1))
        yield


@pytest.fixture(autouse=True)
def scope():
    """A runner of another package leaves its scope to whatever test comes next."""
    with DefaultScope.overwrite_default_scope('mmselfsup'):
        yield


@pytest.fixture(autouse=True)
def forgotten():
    """Leave no training behind: its logger, its curves' threads, MMEngine's lock."""
    yield
    for visualizer in Visualizer._instance_dict.values():
        visualizer.close()  # threads, which a fork of a later test would lack
    for kind in (MMLogger, MessageHub, Visualizer):
        kind._instance_dict.clear()
    while manager._lock._is_owned():  # kept where a logger could not be made
        manager._lock.release()
