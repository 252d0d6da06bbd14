"""Codes do not depend on how many processes share the batch."""

import functools

import mmselfsup.models.losses.swav_loss as swav_loss
import mmselfsup.utils
import pytest
import torch

from mmaccel.compat import swav_sinkhorn
from mmaccel.compat.swav_sinkhorn import distributed_sinkhorn
from mmaccel.host import MMSELFSUP
from tests.processes import fork_ranks
from tests.test_compat.swav import upstream_sinkhorn

SHARP = 0.05


def scores(num_samples=16, num_prototypes=10):
    """Cosines; half of the samples resemble each other, so that balance matters."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(num_samples, num_prototypes, generator=generator)
    x[: num_samples // 2] += 2 * x[0]
    return torch.nn.functional.normalize(x, dim=1)


def plain_sinkhorn(x, iterations, epsilon):
    """The algorithm of SwAV's appendix on one matrix, in double precision."""
    q = torch.exp(x.double() / epsilon).t()
    q = q / q.sum()
    for _ in range(iterations):
        q = q / q.sum(dim=1, keepdim=True) / q.shape[0]
        q = q / q.sum(dim=0, keepdim=True) / q.shape[1]
    return (q * q.shape[1]).t()


def of_this_rank(rank):
    """Codes of one half of the samples: upstream's way, and patched."""
    part = scores().chunk(2)[rank]
    functions = upstream_sinkhorn(), distributed_sinkhorn
    return [f(part, 3, 2, SHARP).tolist() for f in functions]


def test_two_processes_equal_one_with_all_samples():
    expected = plain_sinkhorn(scores(), 3, SHARP).float()

    upstream, patched = (
        torch.tensor(fork_ranks(of_this_rank)).transpose(0, 1).flatten(1, 2)
    )

    assert (upstream - expected).abs().max() > 1e-2, 'upstream needs no patch any more'
    torch.testing.assert_close(patched, expected, atol=1e-6, rtol=0)


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
