"""What a schedule changes in a step, against models that have it built in."""

import copy

import pytest
import torch
from torch.nn.functional import interpolate

from mmaccel.models.plan import StepPlan
from tests.builders import CROP, build, moco_config, simclr_config, swav_config, views

METHODS = dict(
    moco=moco_config,
    simclr=simclr_config,
    swav=lambda **options: swav_config([2], **options),
)


def losses_and_gradients(model, images, plan):
    """One step's results; everything random in it comes from the plan."""
    model.plan = plan
    torch.manual_seed(0)
    losses = model.loss(images, [])
    sum(losses.values()).backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return losses, gradients


def assert_same(first, second):
    for one, other in zip(first, second):
        assert one.keys() == other.keys()
        for name in one:
            assert torch.equal(one[name], other[name]), name


@pytest.mark.parametrize('method', METHODS)
def test_a_plan_without_windows_is_a_model_without_crop_layer(method):
    with_layer = build(METHODS[method](crop_layer=CROP))
    without = build(METHODS[method](crop_layer=None))
    without.load_state_dict(with_layer.state_dict())
    images = views(batch=4, seed=3)
    seeded = dict(exit_stage=3, window_seed=(1, 2))
    plain = losses_and_gradients(without, images, StepPlan(**seeded))
    cut = losses_and_gradients(copy.deepcopy(with_layer), images, StepPlan(**seeded))
    off = losses_and_gradients(with_layer, images, StepPlan(**seeded, windows=False))
    assert_same(off, plain)
    assert not torch.equal(cut[0]['loss_exit3'], plain[0]['loss_exit3'])


@pytest.mark.parametrize('method', METHODS)
def test_scaled_views_are_views_that_were_resized_before(method):
    model = build(METHODS[method](crop_layer=CROP))
    same = copy.deepcopy(model)
    images = views(batch=4, seed=3)
    small = [
        interpolate(view, size=(48, 48), mode='bilinear', antialias=True)
        for view in images
    ]
    scaled = StepPlan(exit_stage=3, window_seed=(1, 2), view_scale=0.75)
    as_it_is = StepPlan(exit_stage=3, window_seed=(1, 2))
    assert_same(
        losses_and_gradients(model, images, scaled),
        losses_and_gradients(same, small, as_it_is),
    )


@pytest.mark.parametrize('loss_on', ['exit', 'cumulative'])
@pytest.mark.parametrize('method', METHODS)
def test_a_plan_may_say_which_losses_count(method, loss_on):
    other = {'exit': 'cumulative', 'cumulative': 'exit'}[loss_on]
    planned = build(METHODS[method](loss_on=other))
    built_so = build(METHODS[method](loss_on=loss_on))
    built_so.load_state_dict(planned.state_dict())
    images = views(batch=4, seed=3)
    says = StepPlan(exit_stage=3, window_seed=(1, 2), loss_on=loss_on)
    silent = StepPlan(exit_stage=3, window_seed=(1, 2))
    assert_same(
        losses_and_gradients(planned, images, says),
        losses_and_gradients(built_so, images, silent),
    )


@pytest.mark.parametrize('method', METHODS)
def test_folded_stages_are_those_whose_batch_norms_are_in_evaluation_mode(method):
    model = build(METHODS[method]()).double()
    images = [view.double() for view in views(batch=4, seed=3)]
    losses_and_gradients(model, images, StepPlan(exit_stage=4))  # sets statistics
    model.zero_grad(set_to_none=True)
    plain = copy.deepcopy(model)
    for module in plain.modules():
        if hasattr(module, 'layer1'):  # the backbone, and that of MoCo's keys
            for frozen in (module.norm1, module.layer1, module.layer2):
                frozen.eval()
    folded = StepPlan(exit_stage=4, first_stage=3, fold_frozen=True)
    ours = losses_and_gradients(model, images, folded)
    theirs = losses_and_gradients(plain, images, StepPlan(4, first_stage=3))
    for one, other in zip(ours, theirs):
        assert one.keys() == other.keys()
        for name in one:
            torch.testing.assert_close(one[name], other[name], rtol=1e-6, atol=1e-8)
    statistics = dict(plain.named_buffers())
    for name, buffer in model.named_buffers():
        torch.testing.assert_close(buffer, statistics[name], rtol=1e-6, atol=1e-8)
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize('scale', [(0.75, 1.0), (1.0, 0.5)])
def test_moco_may_see_query_and_keys_in_two_sizes(scale):
    """Against a model that gets both in the right size, on whole maps."""
    model = build(moco_config())
    same = copy.deepcopy(model)
    images = views(batch=4, seed=3)
    small = [
        interpolate(x, scale_factor=s, mode='bilinear', antialias=True) if s < 1 else x
        for x, s in zip(images, scale)
    ]
    planned = StepPlan(exit_stage=3, view_scale=scale)
    assert_same(
        losses_and_gradients(model, images, planned),
        losses_and_gradients(same, small, StepPlan(exit_stage=3)),
    )


def test_simclr_may_see_its_views_in_two_sizes():
    """Against one forward pass per view and a plain NT-Xent."""
    model = build(simclr_config()).double()
    plain = copy.deepcopy(model)
    images = [view.double() for view in views(batch=4, seed=3)]
    plan = StepPlan(exit_stage=4, view_scale=(0.5, 1.0))
    losses, gradients = losses_and_gradients(model, images, plan)
    images[0] = interpolate(images[0], size=(32, 32), mode='bilinear', antialias=True)
    z = [plain.neck((plain.backbone(view)[-1],))[0] for view in images]
    z = torch.stack(z, 1).flatten(0, 1)
    z = z / z.norm(dim=1, keepdim=True)
    similarity = (z @ z.t()) / 0.1
    similarity = similarity.masked_fill(torch.eye(8, dtype=torch.bool), -torch.inf)
    loss = torch.nn.functional.cross_entropy(similarity, torch.arange(8) ^ 1)
    loss.backward()
    assert float(losses['loss_exit4']) == pytest.approx(float(loss), abs=1e-5)
    for name, parameter in plain.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(
                gradients[name], parameter.grad, rtol=1e-4, atol=1e-6
            )


@pytest.mark.parametrize('method', ['moco', 'simclr'])
@pytest.mark.parametrize('layer', ['HardPairCropLayer', 'HardExampleLayer'])
def test_views_of_two_sizes_may_be_cut(method, layer):
    model = build(METHODS[method](crop_layer=dict(type=layer)))
    model.plan = StepPlan(exit_stage=3, window_seed=(1, 2), view_scale=(0.75, 1.0))
    seen = []
    model.backbone.layer3.register_forward_hook(lambda *args: seen.append(args[1][0]))
    model.loss(views(batch=8, size=96), [])
    # 72 px give 9 cells after stage 2, windows 7 and then 6; 96 px give 12, 9 and 7
    sides = {'HardPairCropLayer': [6, 7], 'HardExampleLayer': [9, 12]}[layer]
    sizes = [tuple(x.shape[::3]) for x in seen]
    count = 8 if layer == 'HardPairCropLayer' else 2
    expected = [(count, side) for side in sides]
    assert sizes == (expected if method == 'simclr' else expected[:1])
