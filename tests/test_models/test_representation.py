"""Feature spread and effective rank against hand numbers."""

import math

import pytest
import torch

from mmaccel.models.utils.representation import effective_rank, feature_std


def test_std_of_signed_axes_is_one():
    """+-e1..+-eD: every dimension holds 1, -1 and zeros, std sqrt(2 / 2D)."""
    z = torch.cat([torch.eye(8), -torch.eye(8)])
    assert float(feature_std(z)) == pytest.approx(1.0)


def test_std_of_two_opposite_points():
    """One dimension of four holds 1 and -1 (std 1): mean 1/4, times sqrt(4)."""
    z = torch.tensor([[5.0, 0, 0, 0], [-0.1, 0, 0, 0]])
    assert float(feature_std(z)) == pytest.approx(0.5)


def test_std_of_a_large_isotropic_sample_is_nearly_one():
    z = torch.randn(20000, 32, generator=torch.Generator().manual_seed(0))
    assert float(feature_std(z)) == pytest.approx(1.0, abs=0.01)
    assert float(feature_std(z + 100)) < 0.05  # a common direction swamps it


@pytest.mark.parametrize('num', [1, 2, 50])
def test_collapsed_features(num):
    z = torch.tensor([[0.3, -2.0, 1.0]]).repeat(num, 1)
    assert float(feature_std(z)) == pytest.approx(0.0, abs=1e-6)
    assert float(effective_rank(z)) == pytest.approx(1.0, abs=1e-3)


def test_rank_of_equal_singular_values_is_their_number():
    z = torch.zeros(10, 6)
    z[:4, :4] = 3 * torch.eye(4)
    assert float(effective_rank(z)) == pytest.approx(4.0, rel=1e-5)


def test_rank_of_known_singular_values():
    """Values 3 and 1: p = 3/4, 1/4; exp(entropy) = 4 / 3**(3/4)."""
    z = torch.tensor([[3.0, 0], [0, 1.0], [0, 0]])
    assert float(effective_rank(z)) == pytest.approx(4 / 3**0.75, rel=1e-5)


@pytest.mark.parametrize('shape', [(5, 40), (40, 5), (1, 7), (7, 1)])
def test_rank_is_at_most_the_smaller_side(shape):
    z = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    assert 1 - 1e-5 <= float(effective_rank(z)) <= min(shape) + 1e-4


def test_zero_and_non_finite_features():
    assert float(feature_std(torch.zeros(4, 3))) == 0.0
    assert float(effective_rank(torch.zeros(4, 3))) == 0.0
    for bad in (math.nan, math.inf):
        z = torch.ones(4, 3)
        z[1, 1] = bad
        assert math.isnan(float(effective_rank(z)))
        assert math.isnan(float(feature_std(z)))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_computed_in_fp32_without_gradient(dtype):
    z = torch.randn(64, 16, generator=torch.Generator().manual_seed(0)).to(dtype)
    z.requires_grad_()
    for measure in (feature_std, effective_rank):
        value = measure(z)
        assert value.dtype == torch.float32 and value.shape == ()
        assert not value.requires_grad
        assert float(value) == pytest.approx(float(measure(z.detach().float())))
