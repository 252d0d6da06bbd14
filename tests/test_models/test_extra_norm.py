"""The norm between a backbone's maps and the heads."""

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope

from mmaccel.models.necks import ExtraNorm

BN = dict(type='BN')


def test_each_map_is_normalised_by_a_layer_of_its_own():
    neck = ExtraNorm((4, 6), norm_cfg=BN)
    maps = (3 + 2 * torch.randn(8, 4, 5, 7), 5 * torch.randn(8, 6, 3, 3) - 1)
    out = neck(maps)
    for x, y in zip(maps, out):
        mean = x.mean((0, 2, 3), keepdim=True)
        var = x.var((0, 2, 3), unbiased=False, keepdim=True)
        torch.testing.assert_close(y, (x - mean) / (var + 1e-5).sqrt())
    # momentum 0.1 from mean 0
    for x, norm in zip(maps, neck.norms):
        torch.testing.assert_close(norm.running_mean, 0.1 * x.mean((0, 2, 3)))


def test_every_layer_is_trained():
    neck = ExtraNorm((4, 6), norm_cfg=BN)
    out = neck((torch.randn(2, 4, 5, 5), torch.randn(2, 6, 3, 3)))
    sum((y**3).sum() for y in out).backward()
    assert len(list(neck.parameters())) == 4
    assert all(p.grad.abs().sum() > 0 for p in neck.parameters())


def test_the_layer_is_synchronised_unless_told_otherwise():
    kinds = [type(norm).__name__ for norm in ExtraNorm((4, 6)).norms]
    assert kinds == ['SyncBatchNorm'] * 2


@pytest.mark.parametrize('scope', ['mmseg', 'mmdet', 'mmcls'])
def test_other_packages_find_it(scope):
    with DefaultScope.overwrite_default_scope(scope):
        neck = MODELS.build(
            dict(type='mmselfsup.ExtraNorm', in_channels=(4,), norm_cfg=BN)
        )
    assert isinstance(neck, ExtraNorm)


@pytest.mark.parametrize('number', [1, 3])
def test_another_number_of_maps_is_refused(number):
    with pytest.raises(ValueError, match='out_indices'):
        ExtraNorm((4, 4), norm_cfg=BN)([torch.randn(2, 4, 3, 3)] * number)
