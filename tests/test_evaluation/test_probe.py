"""Features after every stage, and linear probes on them, against plain loops."""

import copy

import numpy as np
import pytest
import torch
from mmcls.models import ResNet_CIFAR
from mmengine.structures import LabelData
from mmselfsup.models import ResNet, ResNetV1d
from mmselfsup.structures import SelfSupDataSample
from sklearn.linear_model import LogisticRegression
from torch import nn

from mmaccel.evaluation import probe
from mmaccel.evaluation.features import extract_stage_features, pooled_stages
from mmaccel.evaluation.probe import linear_probe

SMALL = dict(base_channels=8, stem_channels=8)


def settle(backbone):
    """Statistics unlike those of a new network; evaluation mode."""
    for name, x in backbone.named_buffers():
        if 'running' in name:
            x += torch.rand_like(x)
    backbone.eval()  # upstream's returns None
    return backbone


@pytest.mark.parametrize(
    'make',
    [
        lambda out: ResNet(18, out_indices=out, **SMALL),
        lambda out: ResNet(50, out_indices=out, **SMALL),
        lambda out: ResNetV1d(depth=18, out_indices=out, **SMALL),
    ],
    ids=['18', '50', 'deep stem'],
)
def test_pooled_stages_are_upstreams_outputs(make):
    backbone = settle(make((4,)))
    every = make((0, 1, 2, 3, 4))
    every.load_state_dict(backbone.state_dict())
    every.eval()
    x = torch.randn(2, 3, 64, 48)
    with torch.no_grad():
        pooled = pooled_stages(backbone)(x)
        maps = every(x)
    assert len(pooled) == len(maps) == 5
    for ours, theirs in zip(pooled, maps):
        torch.testing.assert_close(ours, theirs.mean((2, 3)))


def test_pooled_stages_of_a_stem_without_pooling():
    backbone = settle(ResNet_CIFAR(18, out_indices=(0, 1, 2, 3), **SMALL))
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        pooled = pooled_stages(backbone)(x)
        stem = nn.functional.relu(backbone.bn1(backbone.conv1(x)))
        maps = [stem, *backbone(x)]
    assert [p.size(1) for p in pooled] == [8, 8, 16, 32, 64]
    for ours, theirs in zip(pooled, maps):
        torch.testing.assert_close(ours, theirs.mean((2, 3)))


class Model(nn.Module):
    """Just enough of an MMSelfSup algorithm."""

    def __init__(self):
        super().__init__()
        self.backbone = ResNet(18, **SMALL)

    def data_preprocessor(self, batch, training):
        return [batch['inputs']], batch['data_samples']


def test_extraction_leaves_the_network_as_it_was():
    model = Model().train()
    before = copy.deepcopy(model.state_dict())
    sample = SelfSupDataSample(gt_label=LabelData(value=3))
    batch = dict(inputs=torch.randn(4, 3, 32, 32), data_samples=[sample] * 4)
    [(features, labels)] = extract_stage_features(model, [batch])
    assert labels == [3] * 4
    assert not any(x.requires_grad for x in features)
    assert all(torch.equal(x, before[n]) for n, x in model.state_dict().items())
    assert all(module.training for module in model.modules())


def test_features_in_mixed_precision_are_rounded_and_no_more():
    model = Model()
    sample = SelfSupDataSample(gt_label=LabelData(value=3))
    batch = dict(inputs=torch.randn(4, 3, 32, 32), data_samples=[sample] * 4)
    [(exact, _)] = extract_stage_features(model, [batch])
    [(rounded, _)] = extract_stage_features(model, [batch], torch.bfloat16)
    for a, b in zip(exact, rounded):
        assert b.dtype == torch.bfloat16 and not torch.equal(a, b.float())
        assert (a - b.float()).norm() < 0.03 * a.norm()
    assert (torch.ones(1, 1) @ torch.ones(1, 1)).dtype == torch.float32  # switched off


@pytest.fixture(scope='module')
def planted():
    """Five overlapping classes; dimensions of very different size."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(5, 12))
    labels = np.arange(900) % 5
    x = centres[labels] + rng.normal(size=(900, 12)) * 1.2
    x = (x * 10.0 ** rng.integers(-3, 4, 12)).astype(np.float32)
    return x[:600], labels[:600], x[600:], labels[600:]


@pytest.mark.parametrize('penalty', [1e-1, 1e-3])
def test_linear_probe_is_the_optimum_on_standardised_features(planted, penalty):
    x, y, test_x, test_y = (a.astype(np.float64) for a in planted)
    mean, std = x.mean(0), x.std(0)
    model = LogisticRegression(
        C=1 / (penalty * 600), solver='newton-cg', tol=1e-8, max_iter=1000
    )
    expected = model.fit((x - mean) / std, y).score((test_x - mean) / std, test_y)
    result = linear_probe(*planted, penalties=[penalty])
    assert result.converged and result.penalty == penalty
    assert result.top1 == pytest.approx(100 * expected)
    assert 50 < result.top1 < 99


def test_the_penalty_is_chosen_on_training_images_alone(planted):
    x, y, test_x, test_y = planted
    noise = np.random.default_rng(1).normal(size=(900, 300)).astype(np.float32)
    x, test_x = (np.hstack(p) for p in ((x, noise[:600]), (test_x, noise[600:])))
    result = linear_probe(x, y, test_x, test_y)
    weakest = linear_probe(x, y, test_x, test_y, penalties=[1e-6])
    assert result.penalty > 1e-3  # noise calls for a strong one
    assert result.top1 > weakest.top1 + 3
    blind = linear_probe(x, y, test_x, np.roll(test_y, 1))
    assert blind.penalty == result.penalty
    assert linear_probe(x, y, test_x, test_y, seed=0) == result


def test_a_solver_that_was_stopped_says_so(planted, monkeypatch):
    monkeypatch.setattr(probe, '_MAX_ITER', 2)
    assert not linear_probe(*planted).converged


def test_a_class_of_one_image_is_refused(planted):
    x, y, test_x, test_y = planted
    with pytest.raises(ValueError, match='two training images or more'):
        linear_probe(x[:6], y[:6], test_x, test_y)
