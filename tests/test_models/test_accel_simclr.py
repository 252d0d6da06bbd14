"""AccelSimCLR against upstream's SimCLR and plain loops."""

import copy
import math

import pytest
import torch

from mmaccel.models.layers.hard_pair_crop import draw_windows, window_size
from mmaccel.models.plan import StepPlan
from tests.builders import CROP, build, simclr_config, views
from tests.steps import assert_same_states, sgd, step


def test_last_exit_without_windows_equals_upstream():
    accel, upstream = build(simclr_config()), build(simclr_config(accel=False))
    upstream.backbone.load_state_dict(accel.backbone.state_dict())
    upstream.neck.load_state_dict(accel.neck.projectors[-1].state_dict())
    accel.plan = StepPlan(exit_stage=4)
    optimizers = [sgd(accel), sgd(upstream)]
    for i in range(20):
        ours, theirs = (
            step(model, optimizer, views(seed=i), seed=i)
            for model, optimizer in zip([accel, upstream], optimizers)
        )
        assert torch.equal(ours, theirs), f'loss of step {i}'
    assert_same_states(accel.backbone, upstream.backbone)
    assert_same_states(accel.neck.projectors[-1], upstream.neck)


def nt_xent(a, b, others, temperature=0.1):
    """One anchor's loss, written out."""
    positive = math.exp(float(a @ b) / temperature)
    rest = sum(math.exp(float(a @ other) / temperature) for other in others)
    return -math.log(positive / (positive + rest))


def test_chosen_pair_equals_a_plain_reference_with_in_batch_negatives():
    layer = dict(CROP, after_stages=(1,), num_candidates=3)
    model = build(simclr_config(crop_layer=layer)).double()
    step(model, sgd(model), [v.double() for v in views(seed=9)], seed=0)
    model.plan = StepPlan(exit_stage=2, window_seed=(3, 1))
    seen = {}
    pick = model.crop_layer.pick

    def recorded(maps, *args):
        x1, x2 = (x.detach() for x in maps)
        seen.update(x1=x1, x2=x2, corners=pick(maps, *args))
        return seen['corners']

    model.crop_layer.pick = recorded
    model.loss([view.double() for view in views(batch=5)], [])

    x = [seen['x1'], seen['x2']]
    map_size = x[0].shape[-2:]
    h, w = size = window_size(*map_size, 0.75)
    generator = model.plan.window_generator()
    corners = [draw_windows(5, 3, map_size, size, generator) for _ in range(2)]
    projector = copy.deepcopy(model.neck.projectors[0]).eval()

    def vector(cut):
        z = projector((cut.unsqueeze(0),))[0][0]
        return z / z.norm()

    def window(view, n, corner):
        top, left = corner.tolist()
        return vector(x[view][n, :, top : top + h, left : left + w])

    with torch.no_grad():
        whole = [[vector(x[view][n]) for view in range(2)] for n in range(5)]
        for n in range(5):
            others = [z for m in range(5) if m != n for z in whole[m]]
            best, choice = -math.inf, None
            for p in range(3):
                for q in range(3):
                    a, b = (
                        window(0, n, corners[0][n, p]),
                        window(1, n, corners[1][n, q]),
                    )
                    loss = nt_xent(a, b, others) + nt_xent(b, a, others)
                    if loss > best + 1e-12:
                        best, choice = loss, (p, q)
            assert torch.equal(seen['corners'][0][n], corners[0][n, choice[0]])
            assert torch.equal(seen['corners'][1][n], corners[1][n, choice[1]])


@pytest.mark.parametrize('loss_on', ['exit', 'cumulative'])
@pytest.mark.parametrize('exit_stage', [1, 2, 3, 4])
def test_parameters_behind_the_exit_get_no_gradient(exit_stage, loss_on):
    model = build(simclr_config(crop_layer=CROP, loss_on=loss_on))
    model.plan = StepPlan(exit_stage=exit_stage, measure=True)
    losses = model.loss(views(), [])
    model.parse_losses(losses)[0].backward()
    first = 1 if loss_on == 'cumulative' else exit_stage
    for name, p in model.named_parameters():
        stage = int(name[14]) if name.startswith('backbone.layer') else 1
        reached = stage <= exit_stage
        if name.startswith('neck'):
            reached = first <= int(name.split('.')[2]) + 1 <= exit_stage
        assert (p.grad is not None) == reached, name
    assert float(losses[f'chance_exit{exit_stage}']) == pytest.approx(math.log(7))


def test_one_view_is_refused():
    with pytest.raises(ValueError, match='gives 1 view'):
        build(simclr_config()).loss(views(count=1), [])
