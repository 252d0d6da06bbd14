"""AccelSwAV against upstream's SwAV and plain loops, with and without multi-crop."""

import copy
import math
from unittest import mock

import pytest
import torch
from mmselfsup.models.losses import swav_loss
from torch import nn

from mmaccel.models.layers.hard_pair_crop import draw_windows, window_size
from mmaccel.models.plan import StepPlan
from mmaccel.models.utils.views import same_size
from tests.builders import CROP, build, multi_views, swav_config, views
from tests.steps import assert_same_states, sgd, step
from tests.test_compat.swav import upstream_sinkhorn

CROPS = {'2x64': [2], '2x64+4x32': [2, 4]}


def twins(num_crops):
    accel = build(swav_config(num_crops))
    upstream = build(swav_config(num_crops, accel=False))
    upstream.backbone.load_state_dict(accel.backbone.state_dict())
    upstream.neck.load_state_dict(accel.neck.projectors[-1].state_dict())
    upstream.head.loss.load_state_dict(accel.head.losses[-1].state_dict())
    accel.plan = StepPlan(exit_stage=4)
    return accel, upstream


@pytest.mark.parametrize('num_crops', CROPS.values(), ids=CROPS)
def test_last_exit_without_windows_equals_upstream(num_crops):
    accel, upstream = twins(num_crops)
    queues = torch.zeros(2, 2, 16, 16)  # the hook's, one a model
    optimizers = [sgd(accel), sgd(upstream)]
    for i in range(20):
        if i == 8:
            accel.head.losses[-1].queue, upstream.head.loss.queue = queues
        ours, theirs = (
            step(model, optimizer, multi_views(num_crops, seed=i), seed=i)
            for model, optimizer in zip([accel, upstream], optimizers)
        )
        assert torch.equal(ours, theirs), f'loss of step {i}'
    assert_same_states(accel.backbone, upstream.backbone)
    assert_same_states(accel.neck.projectors[-1], upstream.neck)
    assert_same_states(accel.head.losses[-1], upstream.head.loss)
    assert upstream.head.loss.use_queue
    assert torch.equal(*queues)


def test_one_process_equals_upstream_as_released():
    released = upstream_sinkhorn()
    # in double precision: rounding apart, which 20 steps would amplify
    accel, upstream = (model.double() for model in twins([2]))
    optimizers = [sgd(accel), sgd(upstream)]
    for i in range(20):
        inputs = [view.double() for view in multi_views([2], seed=i)]
        ours = step(accel, optimizers[0], inputs, seed=i)
        with mock.patch.object(swav_loss, 'distributed_sinkhorn', released):
            theirs = step(upstream, optimizers[1], inputs, seed=i)
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize('num_crops', CROPS.values(), ids=CROPS)
def test_each_view_picks_its_own_hardest_window(num_crops):
    """One window at a time, against codes of whole maps."""
    layer = dict(CROP, after_stages=(1,), num_candidates=3)
    model = build(swav_config(num_crops, crop_layer=layer)).double()
    model.plan = StepPlan(exit_stage=2, window_seed=(3, 1))
    count = 5
    maps, corners = [], []
    pick = model.crop_layer.pick

    def recorded(given, *args):
        maps.append(given[0].detach())
        corners.extend(pick(given, *args))
        return corners[-1:]

    inputs = [view.double() for view in multi_views(num_crops, batch=count)]
    with mock.patch.object(model.crop_layer, 'pick', recorded):
        model.loss(inputs, [])

    projector = copy.deepcopy(model.neck.projectors[0]).eval()
    prototypes = nn.functional.normalize(
        model.head.losses[0].prototypes.weight.detach(), dim=1
    )

    def project(cut):
        with torch.no_grad():
            return projector([(cut,)])[0]

    whole = project(maps[0][: 2 * count])
    codes = [
        swav_loss.distributed_sinkhorn(z @ prototypes.t(), 3, 1, 0.05)
        for z in whole.chunk(2)
    ]
    generator = model.plan.window_generator()
    number = 0
    for x, chosen in zip(maps, corners):
        map_size = x.shape[-2:]
        h, w = size = window_size(*map_size, 0.75)
        drawn = draw_windows(len(x), 3, map_size, size, generator)
        for i in range(len(x)):
            view, image = number + i // count, i % count
            best, hardest = -math.inf, None
            for top, left in drawn[i].tolist():
                z = project(x[i : i + 1, :, top : top + h, left : left + w])
                log_p = nn.functional.log_softmax(z @ prototypes.t() / 0.1, dim=1)[0]
                loss = -sum(
                    float(codes[assigned][image] @ log_p)
                    for assigned in (0, 1)
                    if assigned != view
                )
                if loss > best + 1e-9:
                    best, hardest = loss, [top, left]
            assert chosen[i].tolist() == hardest
        number += len(x) // count
    assert number == sum(num_crops)


@pytest.mark.parametrize(
    ('num_crops', 'assigned'), [([4], [0, 1]), ([3], [0, 2]), ([2, 4], [0])]
)
def test_any_of_the_first_views_may_be_assigned(num_crops, assigned):
    """One size for all views, and views that predict nothing but themselves."""
    config = swav_config(num_crops, crop_layer=dict(CROP, after_stages=(1,)))
    config['head']['loss']['crops_for_assign'] = assigned
    model = build(config)
    model.plan = StepPlan(exit_stage=2, window_seed=(3, 1))
    sizes = [64] * sum(num_crops)
    whole = []
    codes = model.head.losses[0].codes

    def recorded(z, count):
        whole.append((z, codes(z, count)))
        return whole[-1][1]

    inputs = [views(count=1, seed=i, size=s)[0] for i, s in enumerate(sizes)]
    with mock.patch.object(model.head.losses[0], 'codes', recorded):
        assert model.loss(inputs, [])['loss_exit2'].isfinite()
    ((z, found),) = whole
    prototypes = nn.functional.normalize(model.head.losses[0].prototypes.weight, dim=1)
    for view, code in zip(assigned, found):
        scores = z[4 * view : 4 * view + 4] @ prototypes.t()
        expected = swav_loss.distributed_sinkhorn(scores.detach(), 3, 1, 0.05)
        torch.testing.assert_close(code, expected)


def test_assigned_views_that_come_late_are_refused_with_windows():
    config = swav_config([2, 4], crop_layer=CROP)
    config['head']['loss']['crops_for_assign'] = [0, 3]
    with pytest.raises(ValueError, match='crops_for_assign'):
        build(config)
    config['crop_layer'] = None
    build(config)


@pytest.mark.parametrize('amp', [False, True])
@pytest.mark.parametrize('loss_on', ['exit', 'cumulative'])
@pytest.mark.parametrize('exit_stage', [1, 2, 3, 4])
def test_parameters_behind_the_exit_get_no_gradient(exit_stage, loss_on, amp):
    model = build(swav_config([2, 4], crop_layer=CROP, loss_on=loss_on))
    model.plan = StepPlan(exit_stage=exit_stage, measure=True)
    with torch.autocast('cpu', dtype=torch.bfloat16, enabled=amp):
        losses = model.loss(multi_views([2, 4]), [])
    model.parse_losses(losses)[0].backward()
    first = 1 if loss_on == 'cumulative' else exit_stage
    for name, p in model.named_parameters():
        stage = int(name[14]) if name.startswith('backbone.layer') else 1
        reached = stage <= exit_stage
        if not name.startswith('backbone'):  # neck.projectors.0, head.losses.0
            reached = first <= int(name.split('.')[2]) + 1 <= exit_stage
        assert (p.grad is not None) == reached, name
    assert float(losses[f'chance_exit{exit_stage}']) == pytest.approx(math.log(20))


def test_codes_use_the_queue_once_it_is_full_as_the_loss_does():
    model = build(swav_config([2], crop_layer=CROP))
    loss = model.head.losses[0]
    z = nn.functional.normalize(torch.randn(8, 16), dim=1)
    without = loss.codes(z, 4)
    loss.queue, loss.use_queue = torch.zeros(2, 8, 16), False
    loss.queue[:, :4] = torch.randn(2, 4, 16)
    torch.testing.assert_close(loss.codes(z, 4), without)  # half full
    # as after the hook, at an epoch's start
    loss.queue = torch.cat((loss.queue[:, :4], torch.randn(2, 4, 16)), dim=1)
    found = loss.codes(z, 4)
    weight = nn.functional.normalize(loss.prototypes.weight.detach(), dim=1)
    for i, code in enumerate(found):
        scores = torch.cat((loss.queue[i], z[4 * i : 4 * i + 4])) @ weight.t()
        expected = swav_loss.distributed_sinkhorn(scores, 3, 1, 0.05)[-4:]
        torch.testing.assert_close(code, expected)


def test_scoring_changes_no_buffer_and_no_parameter():
    model = build(swav_config([2], crop_layer=CROP))
    before = copy.deepcopy(model.state_dict())
    loss = model.head.losses[0]
    loss.queue, loss.use_queue = torch.randn(2, 8, 16), True
    queue = loss.queue.clone()
    pooled = torch.randn(8, 3, 8)
    z = model.project_windows(model.neck, pooled[:, :1], 1)[:, 0]
    assert not z.requires_grad
    codes = loss.codes(z, 4)
    model.score_windows(1, range(2), codes, pooled)
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key
    assert torch.equal(loss.queue, queue)


def test_views_of_one_size_go_together():
    images = [torch.empty(1, 3, size, size) for size in (64, 64, 32, 32, 32, 48)]
    assert same_size(images) == [range(2), range(2, 5), range(5, 6)]


def test_missing_views_are_refused():
    with pytest.raises(ValueError, match='gives 2 view.*but 6 are needed'):
        build(swav_config([2, 4])).loss(views(), [])


def test_a_queue_is_looked_at_once_and_counted_then():
    """The host waits once per queue; the answer is upstream's in every step."""
    loss = build(swav_config([2])).head.losses[-1]
    looks = []

    class Watched(torch.Tensor):
        def __ne__(self, other):
            looks.append(1)
            return torch.Tensor.__ne__(self, other)

    for rows in (0, 4, 12):  # empty, partly filled and full, as a resumed one may be
        queue = torch.zeros(2, 12, 16)
        queue[:, :rows] = 1.0
        loss.queue, loss.use_queue = queue.as_subclass(Watched), False
        looks.clear()
        for i in range(5):
            full = bool((queue[:, -1] != 0).any())
            assert loss._queue_is_full() == full, (rows, i)
            z = nn.functional.normalize(torch.randn(8, 16), dim=1)
            with torch.no_grad():
                loss._fill_queue(z, 4)
        assert len(looks) == 1
