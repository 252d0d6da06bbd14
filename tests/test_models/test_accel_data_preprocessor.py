"""Upstream's preprocessor is the reference."""

import pytest
import torch
from mmselfsup.models.utils import SelfSupDataPreprocessor

from mmaccel.errors import ConfigError
from mmaccel.models.preprocessors import AccelDataPreprocessor
from tests.builders import build, moco_config

OPTIONS = dict(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))


@pytest.mark.parametrize(
    'options', [dict(OPTIONS, bgr_to_rgb=True), OPTIONS, {}, dict(bgr_to_rgb=True)]
)
@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize('dtype', [torch.uint8, torch.float32])
def test_views_are_upstreams(options, layout, dtype):
    views = [torch.randint(256, (2, 3, 8, 6)).to(dtype) for _ in range(2)]
    given = [view.clone() for view in views]
    ours = AccelDataPreprocessor(**options)
    ours.layout = layout
    found, samples = ours(dict(inputs=views, data_samples=['a']), True)
    expected, _ = SelfSupDataPreprocessor(**options)(
        dict(inputs=given, data_samples=None), True
    )
    assert samples == ['a']
    for x, e, view, before in zip(found, expected, views, given):
        assert torch.equal(x, e) and x.dtype == e.dtype
        assert x.is_contiguous(memory_format=layout)
        assert torch.equal(view, before)


def test_accel_models_use_it_unless_another_is_named():
    preprocessor = build(
        moco_config(channels_last=True, data_preprocessor=OPTIONS)
    ).data_preprocessor
    assert type(preprocessor) is AccelDataPreprocessor
    assert preprocessor.layout is torch.channels_last
    named = dict(OPTIONS, type='mmselfsup.SelfSupDataPreprocessor')
    model = build(moco_config(data_preprocessor=named))
    assert type(model.data_preprocessor) is SelfSupDataPreprocessor


@pytest.mark.parametrize(
    'batch',
    [
        [dict(inputs=[])],
        dict(img=torch.zeros(2, 3, 8, 8)),
        dict(inputs=[[torch.zeros(3, 8, 8)]]),
        dict(inputs=[torch.zeros(3, 8, 8)], data_samples=[]),
    ],
)
def test_other_batches_are_refused(batch):
    with pytest.raises(ConfigError, match='default_collate'):
        AccelDataPreprocessor()(batch, True)
