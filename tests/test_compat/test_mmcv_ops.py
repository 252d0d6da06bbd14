"""The stand-in computes what the op defines, refuses the rest, and gives way."""

import importlib
import sys

import mmcv
import pytest
import torch

from mmaccel.compat import mmcv_ops

pytestmark = pytest.mark.skipif(
    mmcv_ops.has_compiled_ops(), reason='mmcv is compiled here'
)


def greedy_nms(boxes, scores, threshold, offset):
    """Keep the best box, drop what overlaps it, and so on; widths count ``offset``."""
    kept = []
    for i in scores.argsort(descending=True).tolist():
        x1, y1, x2, y2 = boxes[i].tolist()
        for j in kept:
            u1, v1, u2, v2 = boxes[j].tolist()
            w = max(min(x2, u2) - max(x1, u1) + offset, 0)
            h = max(min(y2, v2) - max(y1, v1) + offset, 0)
            areas = [
                (b - a + offset) * (d - c + offset)
                for a, b, c, d in ((x1, x2, y1, y2), (u1, u2, v1, v2))
            ]
            if w * h / (sum(areas) - w * h) > threshold:
                break
        else:
            kept.append(i)
    return kept


@pytest.mark.parametrize('offset', [0, 1])
def test_nms_equals_a_plain_loop(offset):
    from mmcv.ops import nms

    corners = torch.rand(40, 2) * 20
    boxes = torch.cat([corners, corners + 1 + torch.rand(40, 2) * 10], dim=1)
    scores = torch.rand(40)

    detections, kept = nms(boxes, scores, iou_threshold=0.4, offset=offset)

    expected = greedy_nms(boxes, scores, 0.4, offset)
    assert 1 < len(expected) < 40
    assert kept.tolist() == expected
    torch.testing.assert_close(detections[:, :4], boxes[expected])
    if offset:  # or the case would say nothing about the offset
        assert expected != greedy_nms(boxes, scores, 0.4, 0)


@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('sampling_ratio', [0, 2])
def test_roi_align_and_its_gradient_equal_torchvisions(aligned, sampling_ratio):
    from mmcv.ops import RoIAlign

    rois = torch.tensor([[0, 1.5, 2, 20, 25], [1, 0, 0, 31, 9.5]])
    results = []
    for use_torchvision in (False, True):
        torch.manual_seed(0)
        x = torch.randn(2, 3, 8, 8, requires_grad=True)
        align = RoIAlign(
            (3, 2),
            spatial_scale=0.25,
            sampling_ratio=sampling_ratio,
            aligned=aligned,
            use_torchvision=use_torchvision,
        )
        y = align(x, rois)
        (y * torch.arange(y.numel()).view_as(y)).sum().backward()
        results.append((y.detach(), x.grad))

    torch.testing.assert_close(results[0], results[1])
    assert results[0][1].abs().sum() > 0


def test_roi_align_refuses_the_maximum():
    from mmcv.ops import roi_align

    x, rois = torch.zeros(1, 1, 4, 4), torch.tensor([[0, 0, 0, 2, 2.0]])
    with pytest.raises(NotImplementedError, match=r"pool_mode='max'.*mmcv==2\.0\.1"):
        roi_align(x, rois, (1, 1), 1.0, 0, 'max', True)


def test_other_ops_refuse_by_name_with_the_remedy():
    from mmcv.ops import soft_nms

    with pytest.raises(NotImplementedError, match=r"'softnms'.*mmcv==2\.0\.1"):
        soft_nms(torch.tensor([[0, 0, 1, 1.0]]), torch.ones(1))


def test_environment_report_of_each_training_still_works():
    from mmselfsup.utils import collect_env

    assert 'no compiled ops' in collect_env()['MMCV Compiler']


def test_a_compiled_module_comes_first(tmp_path, monkeypatch):
    importlib.import_module('mmcv.ops')  # the stand-in, put back after this test
    monkeypatch.delitem(sys.modules, 'mmcv._ext')
    monkeypatch.setattr(mmcv, '_ext', None)
    (tmp_path / '_ext.py').write_text('compiled = True')
    monkeypatch.setattr(mmcv, '__path__', [*mmcv.__path__, str(tmp_path)])

    assert mmcv_ops.has_compiled_ops()
    assert importlib.import_module('mmcv._ext').compiled
