"""Codes do not depend on how many processes share the batch."""

import functools

import mmselfsup.models.losses.swav_loss as swav_loss
import mmselfsup.utils
import pytest
import torch

from mmaccel.compat import swav_sinkhorn
from mmaccel.compat.swav_sinkhorn import distributed_sinkhorn
from mmaccel.host import MMSELFSUP
from tests.sinkhorn import SHARP, plain_sinkhorn, scores
from tests.test_compat.swav import upstream_sinkhorn


def test_one_process_equals_upstream():
    x = scores()
    torch.testing.assert_close(
        distributed_sinkhorn(x, 3, 1, SHARP),
        upstream_sinkhorn()(x, 3, 1, SHARP),
        atol=1e-6,
        rtol=0,
    )


def test_half_precision_is_computed_in_single():
    x = scores().half()

    assert not upstream_sinkhorn()(x, 3, 1, SHARP).isfinite().all()  # exp(20) > 65504
    codes = distributed_sinkhorn(x, 3, 1, SHARP)
    assert codes.dtype == torch.float32
    torch.testing.assert_close(codes, plain_sinkhorn(x, 3, SHARP).float())


@pytest.mark.parametrize('epsilon', [1e-3, 1e-2, 1.0])
def test_every_epsilon_gives_codes(epsilon):
    codes = distributed_sinkhorn(scores(), 3, 1, epsilon)

    torch.testing.assert_close(codes.sum(dim=1), torch.ones(16))
    assert (codes >= 0).all()


def test_it_is_used_wherever_upstream_imported_it():
    assert swav_loss.distributed_sinkhorn is distributed_sinkhorn
    assert mmselfsup.utils.distributed_sinkhorn is distributed_sinkhorn


def test_is_needed_looks_at_what_the_function_does(monkeypatch):
    module = MMSELFSUP.module(MMSELFSUP.sinkhorn)

    assert not swav_sinkhorn.is_needed()

    # from a module of its own, as the probe replaces that module's all_reduce
    original = upstream_sinkhorn()
    monkeypatch.setattr(module, 'distributed_sinkhorn', rebound(original, module))
    assert swav_sinkhorn.is_needed()


def rebound(function, module):
    """Let ``function`` look up its globals in ``module``."""

    @functools.wraps(function)
    def call(*args):
        function.__globals__['all_reduce'] = module.all_reduce
        return function(*args)

    return call
