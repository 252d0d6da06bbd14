"""Batched augmentations against upstream's transforms, pixel by pixel and in odds."""

import copy
from functools import partial
from unittest import mock

import mmcv
import numpy as np
import pytest
import torch
from mmcv.transforms import RandomApply, RandomFlip, RandomGrayscale
from mmselfsup.datasets.transforms import processing
from mmselfsup.datasets.transforms.processing import (
    ColorJitter,
    RandomGaussianBlur,
    RandomSolarize,
)
from mmselfsup.models.utils import SelfSupDataPreprocessor
from PIL import Image, ImageFilter
from scipy import stats

from mmaccel.errors import ConfigError
from mmaccel.models import ViewPreprocessor
from mmaccel.models.preprocessors import augment_cpu, augment_gpu
from mmaccel.models.preprocessors.sample_params import (
    JITTER,
    Step,
    check_known,
    sample_params,
)
from mmaccel.seeding import VIEWS, derived_generator
from tests.builders import photograph

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
WEIGHTS = (0.114, 0.587, 0.2989)
JITTERED = dict(
    type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1
)
MOCO_V2 = [
    dict(type='RandomApply', transforms=[JITTERED], prob=0.8),
    dict(type='RandomGrayscale', prob=0.2, keep_channels=True, channel_weights=WEIGHTS),
    dict(type='RandomGaussianBlur', sigma_min=0.1, sigma_max=2.0, prob=0.5),
    dict(type='RandomFlip', prob=0.5),
]


def pictures(number, side=48, seed=0):
    """Photographs as (N, H, W, 3), uint8, blue first."""
    return np.stack([photograph(side, side, (seed, i)) for i in range(number)])


def batch(images):
    return torch.from_numpy(images.transpose(0, 3, 1, 2).copy())


def colours(images):
    """Upstream's result as the modules give it: (N, C, H, W), red first."""
    return np.stack(images)[..., ::-1].transpose(0, 3, 1, 2).astype(float)


def pixels(module, images, steps):
    """Levels in 0..255 that a module makes of images."""
    zero, one = torch.zeros(3, 1, 1), torch.ones(3, 1, 1)
    if images.shape[1] == 1:
        zero, one = zero[:1], one[:1]
    return module.augment(images, steps, zero, one).numpy()


def upstream_gray(image, _):
    transform = RandomGrayscale(1.0, keep_channels=True, channel_weights=WEIGHTS)
    return transform(dict(img=image))['img']


def upstream_blur(image, sigma):
    picture = Image.fromarray(image).filter(ImageFilter.GaussianBlur(radius=sigma))
    return np.array(picture)


# Name, upstream's function of image and value, values, and bounds in levels of 255: the
# mean of the difference, and what one in a thousand exceeds. Upstream cuts fractions
# off after each operation, which costs half a level against exact arithmetic.
pillow = partial(partial, backend='pillow')
OPERATIONS = [
    ('brightness', pillow(mmcv.adjust_brightness), (0.5, 1.7), 0.6, 1.1),
    ('contrast', pillow(mmcv.adjust_contrast), (0.3, 1.6), 0.6, 1.6),
    ('saturation', pillow(mmcv.adjust_color), (0.2, 1.8), 0.6, 1.6),
    ('hue', pillow(mmcv.adjust_hue), (-0.2, 0.1, 0.45), 2.0, 12.5),
    ('gray', upstream_gray, (None,), 0.6, 1.1),
    ('blur', upstream_blur, (0.1,), 0.1, 0.6),
    ('blur', upstream_blur, (0.6, 2.0), 1.0, 9.0),
    ('solarize', lambda x, v: mmcv.solarize(x, thr=v), (128.0,), 1e-3, 1e-3),
    ('flip', lambda x, v: mmcv.imflip(x), (1.0,), 1e-3, 1e-3),
]
CASES = [(n, f, v, *bounds) for n, f, values, *bounds in OPERATIONS for v in values]


@pytest.mark.filterwarnings('ignore:Only use')
@pytest.mark.parametrize('module', [augment_cpu, augment_gpu])
@pytest.mark.parametrize(('name', 'upstream', 'value', 'mean', 'rare'), CASES)
def test_operation_is_upstreams(module, name, upstream, value, mean, rare):
    if module is augment_gpu:
        pytest.importorskip('kornia')
    images = pictures(6)
    rows = torch.tensor([4, 0, 3])  # the others are left alone
    values = torch.full((3,), value or 0.0)
    if name == 'gray':
        values = (torch.tensor(WEIGHTS) / sum(WEIGHTS)).expand(3, 3)
    if name == 'hue':
        values = (values * 255).trunc() / 256
    result = pixels(module, batch(images), [Step(name, rows, values)])
    expected = colours(images)
    chosen = rows.tolist()
    expected[chosen] = colours([upstream(images[i], value) for i in chosen])
    others = [1, 2, 5]
    np.testing.assert_allclose(result[others], expected[others], atol=1e-4)
    difference = np.abs(result[chosen] - expected[chosen])
    assert difference.mean() < mean
    assert np.quantile(difference, 0.999) < rare
    if name not in ('blur', 'hue'):  # what the tolerance could hide
        assert np.abs(colours(images)[chosen] - expected[chosen]).mean() > 5 * mean


@pytest.mark.filterwarnings('ignore:Only use')
@pytest.mark.parametrize('module', [augment_cpu, augment_gpu])
def test_jitter_in_every_order_is_upstreams(module):
    if module is augment_gpu:
        pytest.importorskip('kornia')
    number = 96
    transform = ColorJitter(0.4, 0.4, 0.4, 0.1)
    steps = sample_params([transform], number, torch.Generator().manual_seed(3))
    drawn = [{} for _ in range(number)]
    for step in steps:
        for row, value in zip(step.rows.tolist(), step.values.tolist()):
            drawn[row][step.name] = value
    orders = [tuple(JITTER.index(name) for name in sample) for sample in drawn]
    assert len(set(orders)) > 20 and all(len(order) == 4 for order in orders)

    images = pictures(number, side=24)
    expected = []
    for image, sample, order in zip(images, drawn, orders):
        hue = (sample['hue'] * 256 + np.sign(sample['hue']) * 0.5) / 255
        factors = [sample[name] for name in JITTER[:3]]
        given = (*factors, hue, np.array(order))
        with mock.patch.object(ColorJitter, 'get_params', return_value=given):
            expected.append(transform(dict(img=image))['img'])
    result = pixels(module, batch(images), steps)
    difference = np.abs(result - colours(expected))
    assert difference.mean(axis=(1, 2, 3)).max() < 3
    assert difference.mean() < 1.5


def shares(first, second, number):
    """Chance that two counts out of as many come from the same probability."""
    table = [[first, number - first], [second, number - second]]
    return stats.chi2_contingency(table).pvalue


N = 3000


def drawn(transforms, number=N):
    steps = sample_params(transforms, number, derived_generator(VIEWS, 0))
    values, rows = {}, {}
    for step in steps:
        values[step.name] = [*values.get(step.name, []), *step.values.tolist()]
        rows[step.name] = [*rows.get(step.name, []), *step.rows.tolist()]
    for chosen in rows.values():
        assert len(chosen) == len(set(chosen))  # once a sample
    return values, rows


@pytest.mark.parametrize(
    'arguments',
    [(0.4, 0.4, 0.4, 0.1), (0.8, 0.8, 0.8, 0.2), (1.5, (0.5, 0.7), 0, (-0.1, 0.3))],
)
def test_jitter_factors_are_distributed_as_upstreams(arguments):
    transform = ColorJitter(*arguments)
    values, _ = drawn([transform])
    bounds = [getattr(transform, name) for name in JITTER]
    samples = [ColorJitter.get_params(*bounds) for _ in range(N)]
    for i, name in enumerate(JITTER):
        expected = [sample[i] for sample in samples]
        if expected[0] is None:
            assert name not in values
            continue
        if name == 'hue':  # in whole steps of 8 bits, as upstream applies it
            expected = np.trunc(np.array(expected) * 255) / 256
        assert stats.ks_2samp(values[name], expected).pvalue > 0.001


def test_order_of_jitter_is_uniform_and_apart_from_the_factors():
    steps = sample_params(
        [ColorJitter(0.4, 0.4, 0.4, 0.1)], N, torch.Generator().manual_seed(1)
    )
    orders = [[] for _ in range(N)]
    for step in steps:
        for row in step.rows.tolist():
            orders[row].append(step.name)
    names = [' '.join(order) for order in orders]
    _, counts = np.unique(names, return_counts=True)
    assert len(counts) == 24
    assert stats.chisquare(counts).pvalue > 0.001
    # the first operation says nothing about its strength
    first = next(s for s in steps[:4] if s.name == 'brightness').values.numpy()
    assert stats.kstest(first, stats.uniform(0.6, 0.8).cdf).pvalue > 0.001


@pytest.mark.parametrize('prob', [0.0, 0.2, 0.8, 1.0])
@pytest.mark.parametrize(
    ('make', 'name', 'probe'),
    [
        (
            lambda p: RandomGrayscale(p, keep_channels=True, channel_weights=WEIGHTS),
            'gray',
            [[[0, 0, 200]]],
        ),
        (lambda p: RandomFlip(p), 'flip', [[[0, 0, 0], [200, 200, 200]]]),
        (lambda p: RandomSolarize(prob=p), 'solarize', [[[200, 200, 200]]]),
        (
            lambda p: RandomGaussianBlur(2.0, 2.0, prob=p),
            'blur',
            [[[0, 0, 0], [200, 200, 200]]],
        ),
        (
            lambda p: RandomApply([dict(type='mmselfsup.RandomSolarize', prob=1.0)], p),
            'solarize',
            [[[200, 200, 200]]],
        ),
    ],
)
def test_probability_is_upstreams(make, name, probe, prob):
    transform, number = make(prob), 1000
    _, rows = drawn([transform], number)
    probe = np.array(probe, dtype=np.uint8)
    changed = sum(
        not np.array_equal(transform(dict(img=probe.copy()))['img'], probe)
        for _ in range(number)
    )
    chosen = len(rows.get(name, []))
    if prob in (0.0, 1.0):
        assert chosen == changed == prob * number
    else:
        assert shares(chosen, changed, number) > 0.001


def test_blur_is_distributed_as_upstreams(monkeypatch):
    transform = RandomGaussianBlur(0.1, 2.0, prob=1.0)
    values, _ = drawn([transform])
    radii = []
    monkeypatch.setattr(
        processing.ImageFilter,
        'GaussianBlur',
        lambda radius: radii.append(radius) or ImageFilter.BoxBlur(0),
    )
    for _ in range(N):
        transform(dict(img=np.zeros((1, 1, 3), np.uint8)))
    assert len(radii) == N
    assert stats.ks_2samp(values['blur'], radii).pvalue > 0.001


def test_samples_and_operations_are_independent():
    pipeline = ViewPreprocessor(1, [MOCO_V2]).pipelines[0]
    _, rows = drawn(pipeline)
    marks = {name: np.isin(np.arange(N), chosen) for name, chosen in rows.items()}
    assert set(marks) == {*JITTER, 'gray', 'blur', 'flip'}
    for name in JITTER[1:]:  # one coin for the whole jitter
        assert (marks[name] == marks['hue']).all()
    kinds = ['hue', 'gray', 'blur', 'flip']
    for i, one in enumerate(kinds):
        assert abs(np.corrcoef(marks[one][1:], marks[one][:-1])[0, 1]) < 0.06
        for other in kinds[i + 1 :]:
            assert abs(np.corrcoef(marks[one], marks[other])[0, 1]) < 0.06


def inputs(count=2, number=5, side=40):
    return [batch(pictures(number, side, seed)) for seed in range(count)]


@pytest.mark.parametrize('bgr_to_rgb', [True, False])
@pytest.mark.parametrize('normalise', [True, False])
def test_without_transforms_it_is_upstreams_preprocessor(bgr_to_rgb, normalise):
    options = dict(mean=MEAN, std=STD) if normalise else {}
    options['bgr_to_rgb'] = bgr_to_rgb
    data = dict(inputs=inputs(), data_samples=[])
    expected, _ = SelfSupDataPreprocessor(**options)(copy.deepcopy(data), True)
    ours = ViewPreprocessor(2, [[]], **options)
    for result in (ours(data, True)[0], ours(data, False)[0]):
        assert len(result) == 2
        for x, y in zip(result, expected):
            assert x.dtype == torch.float32 and x.shape == y.shape
            torch.testing.assert_close(x, y, rtol=0, atol=1e-5)


@pytest.mark.parametrize('threads', [1, 3])
def test_views_are_those_of_their_samples(threads, monkeypatch):
    monkeypatch.setattr(torch, 'get_num_threads', lambda: threads)
    transforms = [dict(type='RandomSolarize', prob=0.5), MOCO_V2[-1]]
    ours = ViewPreprocessor(1, [transforms])
    images = batch(pictures(32, 20))
    (result,), _ = ours(dict(inputs=[images], data_samples=[]), True)
    solarized = torch.where(images < 128, images, 255 - images)
    kinds = [images, solarized, images.flip(-1), solarized.flip(-1)]
    found = torch.tensor(
        [[torch.equal(x, y.float()) for y in kind] for x, *kind in zip(result, *kinds)]
    )
    assert (found.sum(1) == 1).all()
    assert (found.sum(0) > 2).all()


def test_not_training_is_upstreams():
    ours = ViewPreprocessor(2, [MOCO_V2], mean=MEAN, std=STD, bgr_to_rgb=True)
    plain = SelfSupDataPreprocessor(mean=MEAN, std=STD, bgr_to_rgb=True)
    data = dict(inputs=inputs(), data_samples=[])
    for x, y in zip(ours(data, False)[0], plain(data, False)[0]):
        assert torch.equal(x, y)


def test_views_follow_the_seed_of_the_step_alone():
    ours = ViewPreprocessor(2, [MOCO_V2], mean=MEAN, std=STD)
    data = dict(inputs=inputs(), data_samples=[])

    def views(seed):
        torch.manual_seed(seed)
        return ours(data, True)[0]

    first = views(1)
    torch.rand(100)
    for x, y in zip(first, views(1)):
        assert torch.equal(x, y)
    assert not torch.equal(first[0], views(2)[0])
    torch.manual_seed(1)
    once = [ours(data, True)[0] for _ in range(2)]  # a next call, other views
    assert not torch.equal(once[0][0], once[1][0])


def test_views_of_one_image_are_drawn_apart():
    same = [inputs(1)[0]] * 2
    ours = ViewPreprocessor(2, [MOCO_V2])
    result, _ = ours(dict(inputs=same, data_samples=[]), True)
    assert not torch.equal(*result)


def test_multi_crop_takes_its_own_pipeline():
    solarized = [dict(type='RandomSolarize', prob=1.0)]
    ours = ViewPreprocessor([2, 3], [[], solarized])
    crops = [batch(pictures(3, side)) for side in (40, 40, 24, 24, 24)]
    result, _ = ours(dict(inputs=crops, data_samples=[]), True)
    assert [x.shape[-1] for x in result] == [40, 40, 24, 24, 24]
    for i, (x, y) in enumerate(zip(result, crops)):
        expected = y.float() if i < 2 else torch.where(y < 128, y, 255 - y).float()
        assert torch.equal(x, expected)
    with pytest.raises(ConfigError, match='4 views where .* 5'):
        ours(dict(inputs=crops[:4], data_samples=[]), True)


@pytest.mark.parametrize('module', [augment_cpu, augment_gpu])
def test_grey_images(module):
    if module is augment_gpu:
        pytest.importorskip('kornia')
    images = batch(pictures(8, 28))[:, :1]
    transforms = ViewPreprocessor(1, [MOCO_V2]).pipelines[0]
    steps = sample_params(transforms, 8, torch.Generator().manual_seed(0))
    result = pixels(module, images, steps)
    assert result.shape == (8, 1, 28, 28)
    assert result.min() >= 0 and result.max() <= 255.01
    bright = [Step('brightness', torch.arange(8), torch.full((8,), 0.5))]
    difference = pixels(module, images, bright) - images.numpy() * 0.5
    assert np.abs(difference).max() <= 1


def test_mixed_precision_leaves_the_pixels_alone():
    pytest.importorskip('kornia')
    transforms = ViewPreprocessor(1, [MOCO_V2]).pipelines[0]
    steps = sample_params(transforms, 8, torch.Generator().manual_seed(0))
    images = batch(pictures(8, 28))
    expected = pixels(augment_gpu, images, steps)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        result = pixels(augment_gpu, images, steps)
    assert result.dtype == np.float32
    assert np.array_equal(result, expected)


class Unheard(RandomSolarize):
    """A transform of the user's."""


@pytest.mark.parametrize(
    ('transform', 'message'),
    [
        (Unheard(), 'does not know the transform Unheard'),
        (RandomApply([Unheard()]), 'does not know the transform Unheard'),
        (RandomFlip(0.5, 'vertical'), "RandomFlip only with direction='horizontal'"),
        (RandomFlip([0.5, 0.2], ['horizontal', 'vertical']), 'RandomFlip only'),
        (RandomGrayscale(0.5), 'RandomGrayscale only with keep_channels=True'),
    ],
)
def test_what_is_not_known_is_refused_by_name(transform, message):
    with pytest.raises(ConfigError, match=message) as caught:
        check_known(transform)
    assert 'fast_views=False' in str(caught.value)
