"""The stand-in computes what the op defines, raises for the rest, and gives way."""

import importlib
import math
import sys
from operator import attrgetter
from pathlib import Path

import mmcv
import pytest
import torch
import torchvision
from mmcv.ops import RoIAlign, batched_nms, nms, roi_align
from mmengine.config import Config

from mmaccel.compat import mmcv_ops

pytestmark = pytest.mark.skipif(
    mmcv_ops.has_compiled_ops(), reason='mmcv is compiled here'
)

SHORT = [torch.float16, torch.bfloat16]
#: Inside, across an edge, wholly outside, larger than the map, without extent; x1, y1,
#: x2, y2 in pixels of a 64 x 80 image whose map is a quarter of that.
ROIS = [
    [0, 3.0, 5.0, 41.5, 37.0],
    [1, -9.0, -14.0, 20.0, 25.0],
    [1, 60.0, 50.0, 95.0, 71.0],
    [0, 200.0, 300.0, 240.0, 330.0],
    [0, -40.0, -40.0, 120.0, 100.0],
    [1, 10.0, 12.0, 10.0, 12.0],
]


def pixel_weights(y, x, height, width):
    """The pixels and weights of a bilinear sample; none a pixel or more outside."""
    if y < -1 or y > height or x < -1 or x > width:
        return []
    corners = []
    for value, size in ((y, height), (x, width)):
        value = min(max(value, 0), size - 1)
        low = math.floor(value)
        high = min(low + 1, size - 1)
        corners.append(((low, 1 - (value - low)), (high, value - low)))
    return [(i, j, u * v) for i, u in corners[0] for j, v in corners[1]]


def plain_roi_align(x, rois, size, scale, sampling_ratio, aligned):
    """RoIAlign as its paper defines it, one sample after the other."""
    height, width = x.shape[2:]
    shift = 0.5 if aligned else 0
    regions = []
    for image, *corners in rois.tolist():
        x1, y1, x2, y2 = (c * scale - shift for c in corners)
        w, h = x2 - x1, y2 - y1
        if not aligned:  # the legacy form knows no region below one pixel
            w, h = max(w, 1), max(h, 1)
        bin_h, bin_w = h / size[0], w / size[1]
        rows = sampling_ratio or math.ceil(bin_h)
        columns = sampling_ratio or math.ceil(bin_w)
        region = x.new_zeros(x.shape[1], *size)
        cells = []
        for i in range(size[0]):
            for j in range(size[1]):
                cell = x.new_zeros(x.shape[1])
                for a in range(rows):
                    for b in range(columns):
                        at_y = y1 + (i + (a + 0.5) / rows) * bin_h
                        at_x = x1 + (j + (b + 0.5) / columns) * bin_w
                        for p, q, weight in pixel_weights(at_y, at_x, height, width):
                            cell = cell + weight * x[int(image), :, p, q]
                cells.append(cell / max(rows * columns, 1))
        region = torch.stack(cells, dim=1).view(-1, *size)
        regions.append(region)
    return torch.stack(regions)


def with_gradient(function, x):
    """What a function gives, and the gradient of a sum that weights each value."""
    x = x.clone().requires_grad_()
    y = function(x)
    weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)
    (y * weights).sum().backward()
    return y.detach(), x.grad


@pytest.mark.parametrize('scale', [0.25, 0.5])
@pytest.mark.parametrize('sampling_ratio', [0, 2])
@pytest.mark.parametrize('aligned', [True, False])
def test_roi_align_and_its_gradient_equal_plain_loops(aligned, sampling_ratio, scale):
    x, rois = torch.randn(2, 2, 16, 20), torch.tensor(ROIS)
    if aligned:  # any layout will do
        x = x.contiguous(memory_format=torch.channels_last)
    align = RoIAlign((3, 2), scale, sampling_ratio, aligned=aligned)

    y, gradient = with_gradient(lambda x: align(x, rois), x)
    expected = with_gradient(
        lambda x: plain_roi_align(x, rois, (3, 2), scale, sampling_ratio, aligned),
        x.double(),
    )
    torch.testing.assert_close((y.double(), gradient.double()), expected, **CLOSE)
    assert y[0].abs().min() > 0 and not y[3].any()  # inside, and wholly outside


CLOSE = dict(rtol=1e-4, atol=1e-5)


def test_roi_align_of_no_regions():
    x = torch.randn(2, 3, 8, 8, requires_grad=True)
    y = RoIAlign((4, 5), 0.25)(x, torch.zeros(0, 5))
    assert y.shape == (0, 3, 4, 5)
    y.sum().backward()
    assert x.grad.shape == x.shape and not x.grad.any()


@pytest.mark.parametrize('short_rois', [True, False])
@pytest.mark.parametrize('dtype', SHORT)
def test_roi_align_of_short_types_is_computed_at_32_bits(dtype, short_rois):
    """mmdet gives the regions the features' type; others may not."""
    align = RoIAlign((3, 2), 0.25)
    x, rois = torch.randn(2, 2, 16, 20).to(dtype), torch.tensor(ROIS)
    rois = rois.to(dtype) if short_rois else rois

    y, gradient = with_gradient(lambda x: align(x, rois), x)
    assert y.dtype == gradient.dtype == dtype
    assert torch.equal(y, align(x.float(), rois.float()).to(dtype))
    weights = torch.linspace(-1, 1, y.numel(), dtype=dtype).view_as(y).float()
    wide = x.float().requires_grad_()
    (align(wide, rois.float()) * weights).sum().backward()
    assert torch.equal(gradient, wide.grad.to(dtype))


def test_roi_align_under_autocast():
    """Forward inside it, backward outside, as a training step does."""
    conv = torch.nn.Conv2d(3, 4, 3, padding=1)
    x, rois = torch.randn(2, 3, 16, 20), torch.tensor(ROIS)
    with torch.autocast('cpu', torch.bfloat16):
        features = conv(x)
        y = RoIAlign(3, 0.25)(features, rois.type_as(features))
    assert y.dtype == torch.bfloat16
    y.float().pow(2).sum().backward()
    gradient, conv.weight.grad = conv.weight.grad, None

    RoIAlign(3, 0.25)(conv(x), rois).pow(2).sum().backward()
    torch.testing.assert_close(gradient, conv.weight.grad, rtol=0.05, atol=0.5)


def test_roi_align_has_no_maximum():
    x, rois = torch.zeros(1, 1, 4, 4), torch.tensor([[0, 0, 0, 2, 2.0]])
    with pytest.raises(NotImplementedError, match=r"pool_mode='max'.*mmcv==2\.0\.1"):
        roi_align(x, rois, (1, 1), 1.0, 0, 'max', True)


def some_boxes(count, side=40.0):
    corners = torch.rand(count, 2) * side
    boxes = torch.cat([corners, corners + 1 + torch.rand(count, 2) * 10], dim=1)
    return boxes, torch.rand(count)


def overlap(one, other, offset=0):
    """Intersection over union of two boxes whose widths count ``offset``."""
    x1, y1, x2, y2 = one
    u1, v1, u2, v2 = other
    w = max(min(x2, u2) - max(x1, u1) + offset, 0)
    h = max(min(y2, v2) - max(y1, v1) + offset, 0)
    areas = [
        (b - a + offset) * (d - c + offset)
        for a, b, c, d in ((x1, x2, y1, y2), (u1, u2, v1, v2))
    ]
    return w * h / (sum(areas) - w * h)


def greedy_nms(boxes, scores, threshold, offset=0, idxs=None):
    """Keep the best box, drop what of its group overlaps it, and so on."""
    boxes = boxes.tolist()
    groups = [0] * len(boxes) if idxs is None else idxs.tolist()
    kept = []
    for i in scores.argsort(descending=True, stable=True).tolist():
        if all(
            groups[i] != groups[j] or overlap(boxes[i], boxes[j], offset) <= threshold
            for j in kept
        ):
            kept.append(i)
    return kept


@pytest.mark.parametrize('max_num', [-1, 5])
@pytest.mark.parametrize('score_threshold', [0, 0.3])
@pytest.mark.parametrize('offset', [0, 1])
def test_nms_equals_a_plain_loop(offset, score_threshold, max_num):
    boxes, scores = some_boxes(60, side=20)
    detections, kept = nms(
        boxes, scores, 0.4, offset, score_threshold=score_threshold, max_num=max_num
    )

    above = (scores > score_threshold).nonzero().flatten()
    expected = above[greedy_nms(boxes[above], scores[above], 0.4, offset)].tolist()
    assert 5 < len(expected) < len(above)
    if offset:  # or the case would say nothing about the offset
        assert expected != above[greedy_nms(boxes[above], scores[above], 0.4)].tolist()
    expected = expected[:max_num] if max_num > 0 else expected
    assert kept.tolist() == expected
    assert torch.equal(detections, torch.cat([boxes, scores[:, None]], 1)[expected])


def test_nms_drops_only_what_overlaps_by_more_than_the_threshold():
    # the second overlaps the first by 1/2, the third by 1/4
    boxes = torch.tensor([[0, 0, 4, 4], [0, 0, 4, 2], [0, 0, 2, 2]]).float()
    scores = torch.tensor([0.9, 0.8, 0.7])
    assert nms(boxes, scores, 0.5)[1].tolist() == [0, 1, 2]
    assert nms(boxes, scores, 0.49)[1].tolist() == [0, 2]
    assert nms(boxes, scores, 0.2)[1].tolist() == [0]


def test_nms_of_equal_scores_takes_the_first():
    boxes, _ = some_boxes(60, side=20)
    scores = torch.randint(3, (60,)) / 3.0
    kept = nms(boxes, scores, 0.4)[1].tolist()
    assert kept == greedy_nms(boxes, scores, 0.4)


@pytest.mark.parametrize('offset', [0, 1])
def test_nms_of_nothing(offset):
    nothing = torch.zeros(0, 4), torch.zeros(0)
    detections, kept = nms(*nothing, 0.5, offset)
    assert detections.shape == (0, 5) and kept.shape == (0,)
    assert kept.dtype == torch.int64
    # all scores below the threshold; and a class without boxes
    boxes, scores = some_boxes(5)
    assert len(nms(boxes, scores, 0.5, offset, score_threshold=2)[1]) == 0
    groups = torch.zeros(0, dtype=torch.long)
    config = dict(type='nms', iou_threshold=0.5)
    detections, kept = batched_nms(*nothing, groups, config, class_agnostic=True)
    assert detections.shape == (0, 5) and kept.shape == (0,)


@pytest.mark.parametrize('short_boxes', [True, False])
@pytest.mark.parametrize('dtype', SHORT)
def test_nms_of_short_types_is_computed_at_32_bits(dtype, short_boxes):
    """Under mixed precision mmdet's scores are short, its boxes are not."""
    boxes, scores = some_boxes(60, side=20)
    boxes, scores = boxes.to(dtype) if short_boxes else boxes, scores.to(dtype)
    with torch.autocast('cpu', dtype):
        inside = nms(boxes, scores, 0.4)[1].tolist()
    expected = torchvision.ops.nms(boxes.float(), scores.float(), 0.4).tolist()
    assert 5 < len(expected) < 60
    assert nms(boxes, scores, 0.4)[1].tolist() == inside == expected


@pytest.mark.parametrize('class_agnostic', [False, True])
@pytest.mark.parametrize('split_thr', [10000, 30])
def test_batched_nms_equals_a_plain_loop(class_agnostic, split_thr):
    """Above ``split_thr`` boxes one group is taken after the other."""
    boxes, scores = some_boxes(80, side=20)
    idxs = torch.randint(3, (80,))
    config = dict(type='nms', iou_threshold=0.4, split_thr=split_thr)
    detections, kept = batched_nms(boxes, scores, idxs, config, class_agnostic)

    # mmcv splits by group whether or not it was told to look across them
    apart = not class_agnostic or split_thr < 80
    expected = greedy_nms(boxes, scores, 0.4, idxs=idxs if apart else None)
    assert greedy_nms(boxes, scores, 0.4) != greedy_nms(boxes, scores, 0.4, idxs=idxs)
    assert kept.tolist() == expected
    assert torch.equal(detections, torch.cat([boxes, scores[:, None]], 1)[expected])


@pytest.mark.parametrize('amp', [False, True])
def test_faster_rcnn_c4_needs_these_three_ops_only(called, amp):
    """Any other would refuse; as mmdet calls them in training and in testing."""
    from mmdet.registry import MODELS
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    config = upstream('mmdet::_base_/models/faster-rcnn_r50-caffe-c4.py')
    config.backbone.update(depth=18, init_cfg=None)
    config.rpn_head.update(in_channels=256, feat_channels=32)
    config.roi_head.shared_head.update(depth=18, init_cfg=None)
    config.roi_head.bbox_roi_extractor.out_channels = 256
    config.roi_head.bbox_head.update(in_channels=512, num_classes=3)
    config.train_cfg.rcnn.sampler.num = 32
    config.train_cfg.rpn_proposal.max_per_img = config.test_cfg.rpn.max_per_img = 64
    config.test_cfg.rcnn.score_thr = 0  # or an untrained head would find nothing
    model = MODELS.build(config)
    sample = DetDataSample(
        metainfo=dict(
            img_shape=(96, 96),
            ori_shape=(96, 96),
            pad_shape=(96, 96),
            scale_factor=(1.0, 1.0),
            batch_input_shape=(96, 96),
        ),
        gt_instances=InstanceData(
            bboxes=torch.tensor([[10.0, 12, 60, 70]]), labels=torch.tensor([1])
        ),
    )
    x = torch.randn(1, 3, 96, 96)

    with torch.autocast('cpu', torch.bfloat16, enabled=amp):
        losses = model.loss(x, [sample])
        total = sum(
            sum(v) if isinstance(v, list) else v
            for k, v in losses.items()
            if 'loss' in k
        )
    total.backward()
    assert set(called) == {'nms', 'roi_align_forward', 'roi_align_backward'}
    gradient = model.backbone.layer3[0].conv1.weight.grad
    assert torch.isfinite(gradient).all() and gradient.abs().sum() > 0

    called.clear()
    model.eval()
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16, enabled=amp):
        (result,) = model.predict(x, [sample])
    assert called.count('nms') == 2 and called.count('roi_align_forward') == 1
    assert len(called) == 3 and len(result.pred_instances) > 0


def upstream(path):
    """An upstream model's config, in its own scope."""
    package, _, file = path.partition('::')
    importlib.import_module(f'{package}.models')
    folder = Path(importlib.import_module(package).__file__).parent
    config = Config.fromfile(folder / '.mim/configs' / file).model
    config['_scope_'] = package
    return config


@pytest.fixture
def called(monkeypatch):
    """The names of the ops that are called, in order."""
    importlib.import_module('mmcv.ops')
    module, names = sys.modules['mmcv._ext'], []

    def recording(name, op):
        def call(*args, **kwargs):
            names.append(name)
            return op(*args, **kwargs)

        return call

    for name in ('nms', 'roi_align_forward', 'roi_align_backward'):
        monkeypatch.setattr(module, name, recording(name, getattr(module, name)))
    return names


ZEROS = torch.zeros(1, 1, 4, 4)
#: Ops without a stand-in: where they are, their arguments, and what the error names.
OTHER_OPS = {
    'ops.soft_nms': ((torch.eye(1, 4), torch.ones(1)), "'softnms'.*type='nms'"),
    'ops.deform_conv2d': (
        (ZEROS, torch.zeros(1, 18, 2, 2), torch.zeros(1, 1, 3, 3)),
        "'deform_conv_forward'",
    ),
    'ops.sync_bn.SyncBatchNormFunction.apply': (
        (ZEROS, *torch.eye(4, 1), 0.1, 1e-5, None, 1, 'default'),
        "'sync_bn_forward_mean'.*type='SyncBN'",
    ),
    'ops.roi_pool': ((ZEROS, torch.zeros(1, 5), 2), "'roi_pool_forward'"),
}


@pytest.mark.parametrize('name', OTHER_OPS)
def test_other_ops_raise_with_the_remedy(name):
    importlib.import_module('mmcv.ops')
    arguments, message = OTHER_OPS[name]
    with pytest.raises(NotImplementedError, match=rf'{message}.*mmcv==2\.0\.1'):
        attrgetter(name)(mmcv)(*arguments)


def test_environment_report_of_each_training_still_works():
    from mmselfsup.utils import collect_env

    assert 'no compiled ops' in collect_env()['MMCV Compiler']


def test_a_compiled_module_comes_first(tmp_path, monkeypatch):
    importlib.import_module('mmcv.ops')  # the stand-in, put back after this test
    monkeypatch.delitem(sys.modules, 'mmcv._ext')
    monkeypatch.setattr(mmcv, '_ext', None)
    (tmp_path / '_ext.py').write_text('compiled = True')
    monkeypatch.setattr(mmcv, '__path__', [*mmcv.__path__, str(tmp_path)])

    assert mmcv_ops.has_compiled_ops() and not mmcv_ops.is_needed()
    assert importlib.import_module('mmcv._ext').compiled
    # nor is the stand-in registered where mmcv is compiled from the start
    finders = [f for f in sys.meta_path if f is not mmcv_ops._StandInFinder]
    monkeypatch.setattr(sys, 'meta_path', finders)
    assert not mmcv_ops.is_needed()
