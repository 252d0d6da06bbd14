"""Shared by all tests: one thread, quiet logs, mmaccel registered."""

import random

import numpy as np
import pytest
import torch

import mmaccel  # noqa: F401

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seeded():
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
