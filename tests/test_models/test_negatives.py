"""Negatives of the same step, and the decoupled loss, against plain loops."""

import copy
import math

import pytest
import torch
from torch import nn

from mmaccel.models.heads import AccelContrastiveHead
from mmaccel.models.plan import StepPlan
from tests.builders import CROP, build, moco_config, views
from tests.distributed import run_ranks
from tests.steps import sgd, step

LOSS = dict(type='mmcls.CrossEntropyLoss')


def keys_and_queries(model, inputs, stage):
    """Unit vectors of both views after a stage, from plain forward passes."""
    query, key = copy.deepcopy(model), copy.deepcopy(model)
    key.encoder_k.update_parameters(nn.Sequential(key.backbone, key.neck))
    found = []
    for backbone, neck, x in (
        (query.backbone, query.neck, inputs[0]),
        (*key.encoder_k.module, inputs[1]),
    ):
        maps = []
        for i in range(1, 5):
            getattr(backbone, f'layer{i}').register_forward_hook(
                lambda *args, maps=maps: maps.append(args[2])
            )
        backbone(x)
        z = neck((maps[stage - 1],), stage)[0]
        found.append(nn.functional.normalize(z, dim=1))
    return found


@pytest.mark.parametrize('decoupled', [False, True])
@pytest.mark.parametrize('stage', [1, 4])
def test_batch_negatives_are_the_other_images_keys(stage, decoupled):
    config = moco_config(negatives='batch', queue_len=30)  # no multiple is needed
    config['head'].update(decoupled=decoupled)
    model = build(config).double()
    model.plan = StepPlan(exit_stage=stage, measure=True)
    inputs = [view.double() for view in views(batch=5)]
    with torch.no_grad():
        q, k = keys_and_queries(model, inputs, stage)
    torch.manual_seed(0)
    losses = model.loss(inputs, [])
    expected = 0.0
    for n in range(5):
        positive = math.exp(q[n] @ k[n] / 0.2)
        others = sum(math.exp(q[n] @ k[m] / 0.2) for m in range(5) if m != n)
        expected -= math.log(positive / (others + (not decoupled) * positive)) / 5
    loss = losses[f'loss_exit{stage}'].detach()
    assert float(loss) == pytest.approx(expected, abs=1e-6)
    chance = math.log(4 if decoupled else 5)
    assert float(losses[f'chance_exit{stage}']) == pytest.approx(chance)


@pytest.mark.parametrize('pointer', [0, 8, 28])
def test_age_gap_against_a_plain_loop(pointer):
    model = build(moco_config(queue_len=30)).double()
    model.plan = StepPlan(exit_stage=2, measure=True)
    queue = model.queues[1]
    queue.pointer.fill_(pointer)
    slots = [column.clone() for column in queue.features.t()]
    inputs = [view.double() for view in views(batch=5)]
    with torch.no_grad():
        q, k = keys_and_queries(model, inputs, stage=2)
    torch.manual_seed(0)
    measured = model.loss(inputs, [])
    expected = 0.0
    for n in range(5):
        expected += sum(float(q[n] @ k[m]) for m in range(5) if m != n) / 20
        expected -= sum(float(q[n] @ slots[(pointer + i) % 30]) for i in range(5)) / 25
    gap = measured['age_gap_exit2']
    assert float(gap) == pytest.approx(expected, abs=1e-6) and not gap.requires_grad


def test_each_exit_may_have_its_own_negatives():
    model = build(moco_config(negatives=('batch', 'batch', 'batch', 'queue')))
    before = [queue.features.clone() for queue in model.queues]
    step(model, sgd(model), views(), seed=0)
    changed = [
        not torch.equal(queue.features, old) for queue, old in zip(model.queues, before)
    ]
    assert changed == [False, False, False, True]


def test_keys_run_no_further_than_a_loss_or_a_queue_needs():
    for negatives, last in (
        ('batch', 2),
        ('queue', 4),
        (('queue',) * 3 + ('batch',), 3),
    ):
        model = build(moco_config(negatives=negatives))
        model.plan = StepPlan(exit_stage=2)
        ran = []
        for i in range(1, 5):
            getattr(model.encoder_k.module[0], f'layer{i}').register_forward_hook(
                lambda *_, i=i, ran=ran: ran.append(i)
            )
        model.loss(views(), [])
        assert ran == list(range(1, last + 1))


@pytest.mark.parametrize('negatives', ['all', ('batch',), ('batch',) * 3 + ('bank',)])
def test_unknown_negatives_are_refused(negatives):
    with pytest.raises(ValueError, match='negatives'):
        build(moco_config(negatives=negatives))


def test_windows_are_scored_against_whole_maps_of_other_images():
    layer = dict(CROP, after_stages=(1,), num_candidates=3)
    model = build(moco_config(crop_layer=layer, negatives='batch')).double()
    step(model, sgd(model), [v.double() for v in views(seed=9)], seed=0)
    model.plan = StepPlan(exit_stage=2, window_seed=(3, 1))
    seen = []
    model.crop_layer.watcher = seen.append
    maps = {}
    for name, backbone in dict(q=model.backbone, k=model.encoder_k.module[0]).items():
        backbone.layer1.register_forward_hook(
            lambda *args, name=name: maps.update({name: args[2].detach()})
        )
    torch.manual_seed(0)
    model.loss([v.double() for v in views(batch=5)], [])
    torch.manual_seed(0)
    order = torch.argsort(torch.randperm(5))  # upstream's shuffle, undone
    maps['k'] = maps['k'][order]
    (trace,) = seen
    h, w = trace.size
    necks = [copy.deepcopy(n).eval() for n in (model.neck, model.encoder_k.module[1])]

    def vector(neck, cut):
        with torch.no_grad():
            z = neck.projectors[0]((cut.unsqueeze(0),))[0][0]
        return z / z.norm()

    whole = [vector(necks[1], maps['k'][m]) for m in range(5)]
    for n in range(5):
        for p, (top, left) in enumerate(trace.corners[0][n].tolist()):
            q = vector(necks[0], maps['q'][n, :, top : top + h, left : left + w])
            rest = sum(math.exp(q @ whole[m] / 0.2) for m in range(5) if m != n)
            for r, (top_k, left_k) in enumerate(trace.corners[1][n].tolist()):
                cut = maps['k'][n, :, top_k : top_k + h, left_k : left_k + w]
                positive = math.exp(q @ vector(necks[1], cut) / 0.2)
                expected = -math.log(positive / (positive + rest))
                assert float(trace.losses[n, p, r]) == pytest.approx(expected, abs=1e-5)


def test_decoupled_scores_are_the_losses_of_single_pairs():
    head = AccelContrastiveHead(loss=LOSS, temperature=0.5, decoupled=True)
    pos, neg = torch.randn(3, 2, 2), torch.randn(3, 2, 7)
    scores = head.score(pos, neg)
    for n in range(3):
        for p in range(2):
            for r in range(2):
                alone = head(pos[n : n + 1, p, r : r + 1], neg[n : n + 1, p])
                torch.testing.assert_close(scores[n, p, r], alone)
    with torch.no_grad():  # the positive is not in the denominator
        further = head(torch.tensor([[2.0]]), neg[:1, 0])
        torch.testing.assert_close(
            head(torch.tensor([[1.0]]), neg[:1, 0]) - further, torch.tensor(2.0)
        )


def losses_of(rank, world):
    """Losses of half of a batch on each of two ranks; batch norms do not mix."""
    torch.manual_seed(0)
    model = build(moco_config(negatives='batch', crop_layer=CROP)).double().eval()
    for p in model.encoder_k.parameters():
        p.data.add_(0.05 * torch.randn_like(p))
    model.encoder_k.steps += 1
    share = slice(4 * rank, 4 * rank + 4) if world == 2 else slice(0, 8)
    model.plan = StepPlan(exit_stage=1)
    inputs = [view[share].double() for view in views(batch=8, seed=3)]
    return model.loss(inputs, [])['loss_exit1'].item()


def test_two_ranks_have_the_negatives_of_one_process(tmp_path):
    halves = run_ranks(losses_of, 2, tmp_path, 2)
    assert sum(halves) / 2 == pytest.approx(losses_of(0, world=1), abs=1e-6)
