"""AccelMoCo against upstream's MoCo, plain autograd and plain loops."""

import copy
import math

import pytest
import torch
from mmselfsup.registry import MODELS
from torch import nn

from mmaccel.models.layers.hard_pair_crop import draw_windows, window_size
from mmaccel.models.plan import StepPlan
from mmaccel.models.utils.backbones import stage_channels
from mmaccel.models.utils.batch_shuffle import BatchShuffle
from mmaccel.models.utils.stages import split_stages
from tests.builders import BACKBONE, CROP, build, moco_config, views
from tests.steps import assert_same_states, sgd, step
from tests.test_models.test_hard_pair_crop import plain_choice

BACKBONES = {
    'resnet18': (BACKBONE, (8, 16, 32, 64)),
    'resnet34': (dict(BACKBONE, depth=34), (8, 16, 32, 64)),
    'resnet50': (dict(BACKBONE, depth=50), (32, 64, 128, 256)),
    'resnet101': (dict(BACKBONE, depth=101, base_channels=4), (16, 32, 64, 128)),
    'v1d': (dict(BACKBONE, type='mmselfsup.ResNetV1d'), (8, 16, 32, 64)),
    'cifar': (
        dict(
            type='mmcls.ResNet_CIFAR',
            depth=18,
            base_channels=8,
            stem_channels=8,
            out_indices=(3,),
        ),
        (8, 16, 32, 64),
    ),
    'resnext50': (
        dict(
            type='mmselfsup.ResNeXt',
            depth=50,
            groups=4,
            width_per_group=4,
            out_indices=[4],
        ),
        (256, 512, 1024, 2048),
    ),
}


def twins(**overrides):
    """An AccelMoCo and an upstream MoCo with the same weights, queue and keys."""
    accel = build(moco_config(**overrides))
    backbone = overrides.get('backbone')
    channels = overrides.get('channels', (8, 16, 32, 64))
    upstream = build(moco_config(accel=False, backbone=backbone, channels=channels))
    upstream.backbone.load_state_dict(accel.backbone.state_dict())
    upstream.neck.load_state_dict(accel.neck.projectors[-1].state_dict())
    upstream.queue.copy_(accel.queues[-1].features)
    return accel, upstream


@pytest.mark.parametrize('name', BACKBONES)
def test_last_exit_without_windows_equals_upstream(name):
    backbone, channels = BACKBONES[name]
    accel, upstream = twins(backbone=backbone, channels=channels)
    accel.plan = StepPlan(exit_stage=4)
    optimizers = [sgd(accel), sgd(upstream)]
    size = 64 if name == 'resnet18' else 32
    for i in range(20 if name in ('resnet18', 'cifar') else 3):
        inputs = views(batch=4, size=size, seed=i)
        ours, theirs = (
            step(model, optimizer, inputs, seed=i)
            for model, optimizer in zip([accel, upstream], optimizers)
        )
        assert torch.equal(ours, theirs), f'loss of step {i}'
    pairs = [
        (accel.backbone, upstream.backbone),
        (accel.neck.projectors[-1], upstream.neck),
        (accel.encoder_k.module[0], upstream.encoder_k.module[0]),
        (accel.encoder_k.module[1].projectors[-1], upstream.encoder_k.module[1]),
    ]
    for ours, theirs in pairs:
        assert_same_states(ours, theirs)
    assert torch.equal(accel.queues[-1].features, upstream.queue)
    assert torch.equal(accel.queues[-1].pointer, upstream.queue_ptr)
    assert torch.equal(accel.encoder_k.steps, upstream.encoder_k.steps)
    assert float(upstream.queue_ptr) > 0


@pytest.mark.parametrize('name', BACKBONES)
def test_stages_compose_to_upstreams_forward(name):
    config, channels = BACKBONES[name]
    backbone = MODELS.build(copy.deepcopy(config))
    backbone.eval()
    assert tuple(stage_channels(backbone)) == channels
    x = expected = torch.randn(2, 3, 48, 40)
    for stage in split_stages(backbone):
        x = stage(x)
    assert torch.equal(x, backbone(expected)[-1])


def test_stages_are_views_of_any_class_with_a_stem_and_layers():
    from torchvision.models import ResNet
    from torchvision.models.resnet import BasicBlock

    backbone = ResNet(BasicBlock, [1, 1, 1, 1])
    backbone.avgpool = backbone.fc = nn.Identity()
    keys = list(backbone.state_dict())
    x = torch.randn(2, 3, 32, 32)
    expected = backbone.eval()(x)
    for stage in split_stages(backbone)[:1]:
        stage(x)
    assert list(backbone.state_dict()) == keys
    assert torch.equal(backbone(x), expected)
    assert stage_channels(backbone) == [64, 128, 256, 512]


def stage_of(name):
    """Stage that a parameter of AccelMoCo belongs to."""
    if name.startswith('backbone.layer'):
        return int(name[len('backbone.layer')])
    if name.startswith('backbone.'):
        return 1
    assert name.startswith('neck.projectors.'), name
    return int(name.split('.')[2]) + 1


def trained_by(name, exit_stage, loss_on):
    stage = stage_of(name)
    if name.startswith('neck') and loss_on == 'exit':
        return stage == exit_stage
    return stage <= exit_stage


@pytest.mark.parametrize('loss_on', ['exit', 'cumulative'])
@pytest.mark.parametrize('accumulate', [1, 3])
@pytest.mark.parametrize('amp', [False, True])
@pytest.mark.parametrize('exit_stage', [1, 2, 3, 4])
def test_parameters_behind_the_exit_are_left_alone(
    exit_stage, amp, accumulate, loss_on
):
    model = build(moco_config(crop_layer=CROP, loss_on=loss_on))
    optimizer = sgd(model)
    model.plan = StepPlan(exit_stage=4)
    step(model, optimizer, views(), seed=0)  # every parameter has momentum now
    if loss_on == 'exit':  # the other projectors too
        for stage in (1, 2, 3):
            model.plan = StepPlan(exit_stage=stage)
            step(model, optimizer, views(), seed=0)

    model.plan = StepPlan(exit_stage=exit_stage)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    optimizer.zero_grad()
    for i in range(accumulate):
        with torch.autocast('cpu', dtype=torch.bfloat16, enabled=amp):
            losses = model.loss(views(seed=i), [])
        (sum(losses.values()) / accumulate).backward()
    optimizer.step()

    for name, p in model.named_parameters():
        if name.startswith('encoder_k'):
            continue
        if trained_by(name, exit_stage, loss_on):
            assert p.grad is not None, name
            assert not torch.equal(p, before[name]), name
        else:
            assert p.grad is None, name
            assert torch.equal(p, before[name]), name


@pytest.mark.parametrize('loss_on', ['exit', 'cumulative'])
@pytest.mark.parametrize('exit_stage', [1, 2, 3, 4])
def test_gradients_equal_plain_autograd(exit_stage, loss_on):
    weights = (0.5, 1.0, 2.0, 1.5)
    model = build(moco_config(loss_on=loss_on, loss_weights=weights))
    model.plan = StepPlan(exit_stage=exit_stage)
    plain = copy.deepcopy(model)
    im_q, im_k = views()

    torch.manual_seed(5)
    losses = model.loss([im_q, im_k], [])
    sum(losses.values()).backward()

    plain.backbone.out_indices = [1, 2, 3, 4]
    torch.manual_seed(5)
    order = torch.randperm(len(im_k))
    maps_q = plain.backbone(im_q)
    with torch.no_grad():
        maps_k = copy.deepcopy(plain.backbone)(im_k[order])
    first = 1 if loss_on == 'cumulative' else exit_stage
    total = 0
    for stage in range(first, exit_stage + 1):
        projector = plain.neck.projectors[stage - 1].mlp
        q = nn.functional.normalize(projector(maps_q[stage - 1].mean((2, 3))), dim=1)
        with torch.no_grad():
            k = projector(maps_k[stage - 1].mean((2, 3)))
            k = nn.functional.normalize(k, dim=1)[torch.argsort(order)]
        logits = torch.cat(
            [(q * k).sum(1, keepdim=True), q @ plain.queues[stage - 1].features], 1
        )
        target = torch.zeros(len(q), dtype=torch.long)
        total = total + weights[stage - 1] * nn.functional.cross_entropy(
            logits / 0.2, target
        )
    total.backward()
    torch.testing.assert_close(sum(losses.values()), total)
    for (name, p), q in zip(model.named_parameters(), plain.parameters()):
        if p.grad is None:
            assert q.grad is None, name
        else:
            torch.testing.assert_close(p.grad, q.grad, msg=lambda m, n=name: n + m)


@pytest.mark.parametrize('key_forward', ['full', 'truncated'])
@pytest.mark.parametrize('exit_stage', [1, 2, 3, 4])
def test_nothing_behind_the_exit_runs(exit_stage, key_forward):
    model = build(moco_config(crop_layer=CROP, key_forward=key_forward))
    model.plan = StepPlan(exit_stage=exit_stage)
    ran = {'query': set(), 'key': set()}
    for branch, network in [
        ('query', model.backbone),
        ('key', model.encoder_k.module[0]),
    ]:
        for name, module in network.named_modules():
            if name.startswith('layer'):
                module.register_forward_hook(
                    lambda *_, b=branch, s=int(name[5]): ran[b].add(s)
                )
    scored = set()
    for stage, projector in enumerate(model.neck.projectors, 1):
        projector.register_forward_hook(lambda *_, s=stage: scored.add(s))
    queues = [queue.features.clone() for queue in model.queues]
    sum(model.loss(views(), []).values()).backward()

    assert ran['query'] == set(range(1, exit_stage + 1))
    key_stop = 4 if key_forward == 'full' else exit_stage
    assert ran['key'] == set(range(1, key_stop + 1))
    assert scored == {s for s in (1, 2) if s < exit_stage} | {exit_stage}
    refreshed = {
        stage
        for stage, (queue, old) in enumerate(zip(model.queues, queues), 1)
        if not torch.equal(queue.features, old)
    }
    assert refreshed == (set(range(1, 5)) if key_forward == 'full' else {exit_stage})


def test_chosen_windows_equal_the_plain_reference_under_shuffle():
    """All M x M pairs cut and scored one at a time, against the queue of the stage."""
    layer = dict(CROP, after_stages=(1,), num_candidates=4)
    model = build(moco_config(crop_layer=layer)).double()
    for p in model.encoder_k.parameters():  # keys differ from queries
        p.data.add_(0.1 * torch.randn_like(p))
    model.encoder_k.steps += 1
    model.plan = StepPlan(exit_stage=2, window_seed=(3, 1, 4))
    seen = {}
    model.crop_layer.register_forward_hook(
        lambda _, args, out: seen.update(x_q=args[0].detach(), x_k=args[1], pair=out)
    )
    negatives = model.queues[0].features.t().clone()
    torch.manual_seed(5)
    model.loss([view.double() for view in views(batch=8)], [])

    torch.manual_seed(5)
    to_images = torch.argsort(torch.randperm(8))
    map_size = seen['x_q'].shape[-2:]
    size = window_size(*map_size, 0.75)
    generator = model.plan.window_generator()
    corners_q, corners_k = (draw_windows(8, 4, map_size, size, generator) for _ in 'qk')
    projectors = (
        model.neck.projectors[0].mlp,
        model.encoder_k.module[1].projectors[0].mlp,
    )
    with torch.no_grad():
        choice = plain_choice(
            seen['x_q'],
            seen['x_k'][to_images],
            corners_q,
            corners_k,
            size,
            projectors,
            negatives,
        )
    chosen_k = seen['pair'].corners_k[to_images]
    for n, (p, q) in enumerate(choice):
        assert torch.equal(seen['pair'].corners_q[n], corners_q[n, p])
        assert torch.equal(chosen_k[n], corners_k[n, q])


def test_scoring_changes_no_buffer_and_no_random_state():
    """A projector with batch norm, in training mode, in both encoders."""
    config = moco_config(crop_layer=CROP)
    config['neck'].update(
        projector='mmselfsup.NonLinearNeck', norm_cfg=dict(type='BN1d')
    )
    model = build(config)
    pooled = torch.randn(2, 4, 3, 8)
    before = copy.deepcopy(model.state_dict())
    modes = [module.training for module in model.modules()]
    shuffle, maps = (
        BatchShuffle.from_permutation(torch.arange(4), 4),
        torch.ones(4, 8, 5, 5),
    )
    random_state = torch.get_rng_state()

    model.score_windows(1, shuffle, maps, *pooled)
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), random_state)


def test_windows_are_a_function_of_the_plan():
    model = build(moco_config(crop_layer=CROP))
    corners = []
    model.crop_layer.register_forward_hook(
        lambda _, args, out: corners.append(out.corners_q)
    )
    for seed in [(1, 0, 0), (1, 0, 0), (1, 1, 0)]:
        model.plan = StepPlan(exit_stage=2, window_seed=seed)
        copy.deepcopy(model).loss(views(size=96), [])
    assert torch.equal(corners[0], corners[1])
    assert not torch.equal(corners[0], corners[2])


def test_measured_iterations_report_similarity_and_spread():
    negatives = ('batch', 'queue', 'queue', 'queue')
    model = build(moco_config(loss_on='cumulative', negatives=negatives))
    model.plan = StepPlan(exit_stage=2, measure=True)
    losses = model.loss(views(), [])
    names = ['loss', 'pos_sim', 'neg_sim', 'feat_std', 'eff_rank', 'chance']
    expected = {f'{n}_exit{e}' for n in names for e in (1, 2)}
    assert set(losses) == expected | {'age_gap_exit2'}
    assert float(losses['chance_exit1']) == pytest.approx(math.log(4))  # 3 negatives
    assert float(losses['chance_exit2']) == pytest.approx(math.log(33))
    assert -1 <= float(losses['pos_sim_exit1']) <= 1
    assert 1 <= float(losses['eff_rank_exit2']) <= 4
    model.plan = StepPlan(exit_stage=2)
    assert set(model.loss(views(), [])) == {'loss_exit1', 'loss_exit2'}


def test_without_the_hook_the_last_exit_is_trained_and_the_user_told(caplog):
    from mmengine.logging import MMLogger

    logger = MMLogger.get_instance('test_without_hook')
    logger.addHandler(caplog.handler)
    model = build(moco_config())
    assert set(model.loss(views(), [])) == {'loss_exit4'}
    model.loss(views(), [])
    told = [r.message for r in caplog.records if 'PartialBackpropHook' in r.message]
    assert len(told) == 1
    assert 'only the last exit is trained' in told[0]


@pytest.mark.parametrize(
    ('overrides', 'message'),
    [
        (dict(crop_layer=dict(CROP, after_stages=(1, 4))), 'after stage 4, the last'),
        (dict(loss_on='all'), 'loss_on'),
        (dict(key_forward='half'), "use 'full' or 'truncated'"),
        (dict(loss_weights=(1, 1)), 'loss_weights'),
        (dict(channels=(64, 128, 256, 512)), r'set model.neck.in_channels=\(8, 16'),
        (
            dict(neck=moco_config(accel=False)['neck']),
            r"model\.neck\.type='IntermediateNeck'",
        ),
    ],
)
def test_bad_arguments_name_the_remedy(overrides, message):
    with pytest.raises(ValueError, match=message):
        build(moco_config(**overrides))


@pytest.mark.parametrize(
    ('queue_len', 'count', 'message'),
    [
        (32, 1, 'gives 1 view.*num_views=2'),
        (32, 3, 'gives 3 view.*num_views=2'),
        (30, 2, r'set model\.queue_len=28'),
    ],
)
def test_batches_that_do_not_fit_are_refused(queue_len, count, message):
    with pytest.raises(ValueError, match=message):
        build(moco_config(queue_len=queue_len)).loss(views(count=count), [])


def test_state_dict_keeps_upstreams_backbone_keys():
    accel, upstream = (build(moco_config(accel=accel)) for accel in (True, False))
    keys = [k for k in upstream.state_dict() if k.startswith('backbone.')]
    assert keys == [k for k in accel.state_dict() if k.startswith('backbone.')]
    assert (
        accel.extract_feat(views())[0].shape == upstream.extract_feat(views())[0].shape
    )
