"""Multi-crop of AccelMoCo and AccelSimCLR against plain loops over images and views."""

import copy
import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmselfsup.registry import MODELS
from torch import nn
from torch.nn.functional import interpolate

from mmaccel.analysis import input_shapes
from mmaccel.engine.config import load_config
from mmaccel.engine.preflight import check_views
from mmaccel.errors import ConfigError
from mmaccel.models.plan import StepPlan
from tests.builders import CROP, build, moco_config, multi_views, simclr_config, views

ROOT = Path(__file__).parents[2]
METHODS = dict(moco=moco_config, simclr=simclr_config)


def double(inputs):
    return [view.double() for view in inputs]


def sized(*sizes):
    return [views(batch=4, size=size, count=1)[0] for size in sizes]


def vectors(backbone, neck, images, stage):
    """Unit vectors after a stage, from a plain forward pass."""
    maps = []
    layer = getattr(backbone, f'layer{stage}')
    handle = layer.register_forward_hook(lambda *args: maps.append(args[2]))
    backbone(images)
    handle.remove()
    return [z / z.norm() for z in neck((maps[0],), stage)[0]]


def info_nce(anchor, positive, negatives, temperature, decoupled):
    """One anchor's loss, written out."""
    logits = [anchor @ other / temperature for other in negatives]
    positive = anchor @ positive / temperature
    every = logits if decoupled else [positive, *logits]
    return torch.stack(every).exp().sum().log() - positive


def moco_loss(model, inputs, stage, decoupled=False):
    """Mean over images and query views; the second view is the only key."""
    key = copy.deepcopy(model.encoder_k)
    key.update_parameters(nn.Sequential(model.backbone, model.neck))
    with torch.no_grad():
        keys = vectors(*key.module, inputs[1], stage)
    count = len(keys)
    first = vectors(model.backbone, model.neck, inputs[0], stage)
    small = vectors(model.backbone, model.neck, torch.cat(inputs[2:]), stage)
    losses = []
    for n in range(count):
        negatives = [keys[m] for m in range(count) if m != n]
        if model.negatives[stage - 1] == 'queue':
            negatives = list(model.queues[stage - 1].features.t().clone())
        for query in (first[n], *small[n::count]):
            losses.append(info_nce(query, keys[n], negatives, 0.2, decoupled))
    return torch.stack(losses).mean()


def simclr_loss(model, inputs, stage, decoupled=False):
    """Mean over pairs of a large view and any other view of an image."""
    count = len(inputs[0])
    together = torch.stack(inputs[:2], 1).flatten(0, 1)
    large = vectors(model.backbone, model.neck, together, stage)
    small = vectors(model.backbone, model.neck, torch.cat(inputs[2:]), stage)
    losses = []
    for n in range(count):
        pair = large[2 * n : 2 * n + 2]
        negatives = [z for m in range(2 * count) if m // 2 != n for z in [large[m]]]
        for positive, other in (pair, pair[::-1]):
            for anchor in (other, *small[n::count]):
                losses.append(info_nce(anchor, positive, negatives, 0.1, decoupled))
    return torch.stack(losses).mean()


@pytest.mark.parametrize('decoupled', [False, True])
@pytest.mark.parametrize(
    ('config', 'reference'),
    [
        (moco_config(), moco_loss),
        (moco_config(negatives='batch'), moco_loss),
        (simclr_config(), simclr_loss),
    ],
    ids=['queue', 'batch', 'simclr'],
)
def test_losses_and_gradients_equal_a_plain_loop(config, reference, decoupled):
    config['head'].update(decoupled=decoupled)
    model = build(dict(config, loss_on='cumulative')).double()
    inputs = double(multi_views([2, 3], batch=4))
    plain = copy.deepcopy(model)
    expected = [reference(plain, inputs, stage, decoupled) for stage in (1, 2)]
    sum(expected).backward()
    model.plan = StepPlan(exit_stage=2, measure=True)
    losses = model.loss(inputs, [])
    for stage, loss in enumerate(expected, 1):
        torch.testing.assert_close(
            losses[f'loss_exit{stage}'], loss, rtol=1e-5, atol=1e-6, check_dtype=False
        )
    (losses['loss_exit1'] + losses['loss_exit2']).backward()
    trained = 0
    for (name, mine), other in zip(model.named_parameters(), plain.parameters()):
        assert (mine.grad is None) == (other.grad is None), name
        if mine.grad is not None:
            trained += 1
            torch.testing.assert_close(mine.grad, other.grad, rtol=1e-4, atol=1e-6)
    assert trained > 20
    if getattr(model, 'negatives', 'none')[0] == 'queue':  # one key per image
        assert [int(queue.pointer) for queue in model.queues] == [4] * 4


@pytest.mark.parametrize(
    'config', [moco_config(negatives='batch'), simclr_config()], ids=METHODS
)
def test_small_views_may_have_several_sizes(config):
    """Against models that are given one size at a time."""
    model = build(config).double().eval()  # batch norms mix no views
    model.plan = StepPlan(exit_stage=2)
    inputs = double(sized(64, 64, 48, 32))

    def loss(*numbers):
        return model.loss([inputs[n] for n in numbers], [])['loss_exit2']

    # the mean over the large pair, or the large query, and small views one by one
    expected = (2 * loss(0, 1, 2) + 2 * loss(0, 1, 3) - loss(0, 1)) / 3
    torch.testing.assert_close(loss(0, 1, 2, 3), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('method', METHODS)
def test_layout_changes_nothing_but_rounding(method):
    models = [build(METHODS[method](channels_last=last)) for last in (False, True)]
    models[1].load_state_dict(models[0].state_dict())
    losses = []
    for model in models:
        torch.manual_seed(1)
        model.double()
        losses.append(model.loss(double(multi_views([2, 2])), [])['loss_exit4'])
    torch.testing.assert_close(*losses)


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize(
    ('scale', 'sides'),
    [(0.5, [32, 32, 16, 16]), ((0.75, 0.75), [48, 48, 32, 32])],
)
def test_a_scale_is_for_all_views_and_a_pair_for_the_large_ones(method, scale, sides):
    model = build(METHODS[method]()).double()
    same = copy.deepcopy(model)
    inputs = double(multi_views([2, 2]))
    resized = [
        interpolate(x, size=(side, side), mode='bilinear', antialias=True)
        if side != x.shape[-1]
        else x
        for x, side in zip(inputs, sides)
    ]
    losses = []
    for network, images, plan in (
        (model, inputs, StepPlan(exit_stage=3, view_scale=scale)),
        (same, resized, StepPlan(exit_stage=3)),
    ):
        network.plan = plan
        torch.manual_seed(0)
        losses.append(network.loss(images, [])['loss_exit3'])
    assert torch.equal(*losses)


@pytest.mark.parametrize('method', METHODS)
def test_windows_are_cut_from_large_views_alone(method):
    model = build(METHODS[method](crop_layer=CROP))
    model.plan = StepPlan(exit_stage=3, window_seed=(1, 2))
    seen = []
    model.backbone.layer3.register_forward_hook(lambda *x: seen.append(x[1][0].shape))
    losses = model.loss(multi_views([2, 3]), [])
    assert list(losses) == ['loss_exit3']
    # 64 px give 8 cells after stage 2, windows of stage 1 leave 6 and of stage 2 then 5
    pair = (8, 5) if method == 'simclr' else (4, 5)
    assert [tuple(shape[::2]) for shape in seen] == [pair, (12, 4)]


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize(
    'sizes', [(64,), (64, 64, 64), (64, 32, 32), (32, 64, 64), (32, 32, 64)]
)
def test_other_views_are_refused(method, sizes):
    with pytest.raises(ConfigError, match=f'gives {len(sizes)} view.*num_views=2'):
        build(METHODS[method]()).loss(sized(*sizes), [])


@pytest.mark.parametrize('method', METHODS)
def test_layers_that_drop_images_are_refused(method):
    model = build(METHODS[method](crop_layer=dict(type='HardExampleLayer')))
    with pytest.raises(ConfigError, match="crop_layer.type='HardPairCropLayer'"):
        model.loss(multi_views([2, 2]), [])


def preflight(model, num_views, *sizes):
    """The check before anything is built, of views of these sizes."""
    transforms = [[dict(type='RandomResizedCrop', size=size)] for size in sizes]
    multi_view = dict(type='MultiView', num_views=num_views, transforms=transforms)
    pipeline = [multi_view, dict(type='PackSelfSupInputs')]
    loader = dict(dataset=dict(type='UnlabelledFolder', pipeline=pipeline))
    cfg = Config(dict(model=model, train_dataloader=loader))
    check_views(cfg, MODELS.get(model['type']))


@pytest.mark.parametrize('method', METHODS)
def test_a_config_is_checked_before_it_is_built(method):
    config = METHODS[method]
    for num_views, sizes in (
        ([2], [32]),
        ([2, 4], [32, 16]),
        ([2, 1, 3], [32, 20, 16]),
    ):
        preflight(config(crop_layer=CROP), num_views, *sizes)
    for num_views, sizes in (([3], [32]), ([1, 3], [32, 16]), ([2, 2], [32, 32])):
        with pytest.raises(ConfigError, match='num_views=2'):
            preflight(config(), num_views, *sizes)
    with pytest.raises(ConfigError, match='crop_layer'):
        preflight(config(crop_layer=dict(type='HardExampleLayer')), [2, 2], 32, 16)
    with pytest.raises(ConfigError, match='num_views=2'):  # it would use two of them
        preflight(config(accel=False), [2, 2], 32, 16)


@pytest.mark.parametrize('name', ['mocov2_r50_8xb32', 'simclr_r50_8xb32'])
def test_the_documented_config_gives_two_large_and_six_small_views(tmp_path, name):
    page = (ROOT / 'docs/method.md').read_text(encoding='utf-8')
    section = page.partition('## Multi-crop')[2]
    (text,) = re.findall(r'```python\n(.*?)```', section.partition('\n## ')[0], re.S)
    text = text.replace('path/to/mmaccel', str(ROOT))
    (tmp_path / 'mine.py').write_text(text.replace('mocov2_r50_8xb32', name))
    cfg = load_config(str(tmp_path / 'mine.py'))
    assert input_shapes(cfg) == [(3, 224, 224)] * 2 + [(3, 96, 96)] * 6
    check_views(cfg, MODELS.get(cfg.model.type))
