"""Picked windows against a plain recomputation of pairs and pixels."""

import copy
import math

import pytest
import torch
from PIL import Image
from torch import nn

from mmaccel.analysis import windows_plot
from mmaccel.analysis.picked_windows import pick_windows, to_pixels
from mmaccel.models.layers import hard_pair_crop
from mmaccel.models.layers.hard_pair_crop import draw_windows
from mmaccel.seeding import WINDOW, derived_generator
from tests.builders import (
    CROP,
    build,
    moco_config,
    multi_views,
    simclr_config,
    swav_config,
    views,
)

STRIDES = (4, 8)  # of a ResNet's stages 1 and 2


def info_nce(q, k, negatives):
    scores = [float(q @ k) / 0.2] + [float(q @ n) / 0.2 for n in negatives]
    return -math.log(math.exp(scores[0]) / sum(math.exp(s) for s in scores))


def plain_moco(model, inputs, seed):
    """Both stages' pairs and pixels, window by window, on the query's own network."""
    generator = derived_generator(WINDOW, seed, 0, 0)
    maps = []
    for x in inputs:
        net = model.backbone
        x = net.maxpool(net.relu(net.norm1(net.conv1(x))))
        maps.append(net.layer1(x))
    origin = [[(0, 0)] * len(inputs[0]) for _ in inputs]
    found = []
    for stage, stride in zip((1, 2), STRIDES):
        side = maps[0].shape[-1]
        window = math.ceil(0.75 * side)
        size = (window, window)
        corners = [
            draw_windows(len(x), 2, x.shape[-2:], size, generator).tolist()
            for x in maps
        ]
        mlp = model.neck.projectors[stage - 1].mlp
        negatives = model.queues[stage - 1].features.t()
        cut_maps, result = [[], []], []
        for n in range(len(inputs[0])):
            cuts = [
                [x[n, :, t : t + window, le : le + window] for t, le in places[n]]
                for x, places in zip(maps, corners)
            ]
            q, k = (
                [nn.functional.normalize(mlp(c.mean((1, 2))), dim=0) for c in of_view]
                for of_view in cuts
            )
            losses = [[info_nce(a, b, negatives) for b in k] for a in q]
            best = max(max(row) for row in losses)
            p = next(i for i, row in enumerate(losses) if best in row)
            pair = (p, losses[p].index(best))
            boxes = []
            for v in (0, 1):
                left, top = origin[v][n]
                boxes.append(
                    [
                        (
                            left + le * stride,
                            top + t * stride,
                            left + (le + window) * stride,
                            top + (t + window) * stride,
                        )
                        for t, le in corners[v][n]
                    ]
                )
                cut_maps[v].append(cuts[v][pair[v]])
                origin[v][n] = boxes[v][pair[v]][:2]
            result.append((boxes, pair, losses))
        found.append(result)
        if stage == 1:
            maps = [model.backbone.layer2(torch.stack(x)) for x in cut_maps]
    return found


@torch.no_grad()
def test_pairs_and_pixels_equal_a_plain_recomputation():
    model = build(moco_config(crop_layer=dict(CROP)))
    for bn in model.modules():  # which windows a shuffled batch norm sees is not ours
        if isinstance(bn, nn.BatchNorm2d):
            bn.eval()
            bn.train = lambda mode=True: None
    inputs = views(size=64)
    expected = plain_moco(copy.deepcopy(model), inputs, seed=3)
    picked = pick_windows(model, inputs, seed=3)
    assert len(picked) == 4 and model.plan is None
    assert model.crop_layer.watcher is None
    for n, stages in enumerate(picked):
        assert [stage.stage for stage in stages] == [1, 2]
        for stage, result in zip(stages, expected):
            boxes, pair, losses = result[n]
            assert [view.candidates for view in stage.views] == boxes
            assert tuple(view.picked for view in stage.views) == pair
            torch.testing.assert_close(
                torch.tensor(stage.losses), torch.tensor(losses), rtol=1e-4, atol=1e-4
            )
            assert stage.loss == max(max(row) for row in stage.losses)
        for view, before in zip(stages[1].views, stages[0].views):
            assert view.seen == before.candidates[before.picked]
        assert stages[0].views[0].seen == (0, 0, 64, 64)


def boxes_of(picked, stage, view):
    """Cells of the picked windows, from their pixels."""
    cells = []
    for stages in picked:
        windows = stages[stage].views[view]
        left, top = windows.candidates[windows.picked][:2]
        stride = STRIDES[stage]
        cells.append(
            [(top - windows.seen[1]) / stride, (left - windows.seen[0]) / stride]
        )
    return cells


@pytest.mark.parametrize('method', ['moco', 'simclr', 'swav'])
def test_what_is_reported_is_what_the_step_cropped(method, monkeypatch):
    config, inputs = {
        'moco': (moco_config, views(size=64)),
        'simclr': (simclr_config, views(size=64)),
        'swav': (lambda **k: swav_config([2, 2], **k), multi_views([2, 2])),
    }[method]
    cropped = []
    real = hard_pair_crop.crop_windows
    monkeypatch.setattr(
        hard_pair_crop,
        'crop_windows',
        lambda x, corners, size: cropped.append(corners) or real(x, corners, size),
    )
    picked = pick_windows(build(config(crop_layer=dict(CROP))), inputs)
    for stage in range(2):
        of_views = [boxes_of(picked, stage, v) for v in range(len(inputs))]
        if method == 'simclr':
            first, second = (cropped[stage][i::2].tolist() for i in (0, 1))
            assert of_views == [first, second]
        elif method == 'moco':  # keys are in the key encoder's order
            q, k = (corners.tolist() for corners in cropped[2 * stage : 2 * stage + 2])
            assert of_views[0] == q
            assert sorted(of_views[1]) == sorted(k)
        else:
            large, small = cropped[2 * stage : 2 * stage + 2]
            expected = torch.cat([large, small]).unflatten(0, (4, 4)).tolist()
            assert of_views == expected
    for stages in picked:
        losses = torch.tensor(stages[0].losses)
        if method == 'swav':
            assert losses.shape == (4, 2) and not stages[0].pair
            assert [v.picked for v in stages[0].views] == losses.argmax(1).tolist()
            assert stages[0].loss == pytest.approx(float(losses.amax(1).mean()))
        else:
            p, q = (view.picked for view in stages[0].views)
            assert losses.shape == (2, 2) and stages[0].pair
            assert losses[p, q] == losses.max()


@pytest.mark.parametrize('config', [moco_config, simclr_config])
def test_windows_of_multi_crop_are_of_the_pair_alone(config, tmp_path):
    inputs = multi_views([2, 3])
    model = build(config(crop_layer=dict(CROP)))
    picked = pick_windows(model, inputs)
    assert {len(stage.views) for stages in picked for stage in stages} == {2}
    images = [[x[n, 0].numpy() for x in inputs] for n in range(len(picked))]
    for draw, arguments in (
        (windows_plot.draw_windows, (images[0], picked[0])),
        (windows_plot.draw_sheet, (images, picked)),
    ):
        draw(*arguments, tmp_path / 'windows.png')
        with Image.open(tmp_path / 'windows.png') as picture:
            assert picture.size[0] / picture.size[1] < 1.2  # no empty columns


def test_where_nothing_is_scored():
    crop = dict(CROP, after_stages=(1,), num_candidates=1)
    picked = pick_windows(build(moco_config(crop_layer=crop)), views(size=64))
    for (stage,) in picked:
        assert (stage.stage, stage.losses, stage.loss) == (1, None, None)
        assert [len(view.candidates) for view in stage.views] == [1, 1]


def test_pixels_by_hand():
    # 224 px, 56 cells: 4 px a cell
    assert to_pixels((3, 5), (42, 42), (56, 56), (0, 0, 224, 224)) == (20, 12, 188, 180)
    # 21 of 28 px in 11 cells of 2 px: the last cell ends at the border
    assert to_pixels((2, 0), (9, 9), (11, 11), (4, 5, 25, 26)) == (4, 9, 22, 26)
    assert to_pixels((0, 1), (2, 3), (4, 8), (0, 0, 64, 32)) == (8, 0, 32, 16)
