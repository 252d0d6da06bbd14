"""Counted operations against closed forms summed over layers."""

import pytest
import torch
from mmengine.config import Config
from torch import nn

from mmaccel.analysis import StepRunner, cost_of_step, input_shapes
from mmaccel.models.plan import StepPlan
from tests.builders import BACKBONE, CROP, moco_config, simclr_config, swav_config

PIPELINE = [
    dict(
        type='mmselfsup.MultiView',
        num_views=2,
        transforms=[[dict(type='mmselfsup.RandomResizedCrop', size=48)]],
    )
]


def config(accel=True, probs=(0.25,) * 4, **overrides):
    return Config(
        dict(
            model=moco_config(accel=accel, **overrides),
            train_dataloader=dict(dataset=dict(pipeline=PIPELINE)),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
            custom_hooks=[dict(type='PartialBackpropHook', exit_probs=probs)],
        )
    )


class LayerMacs:
    """Sums output elements x inputs each over convolutions and linear layers.

    The first convolution's backward pass makes no gradient of the images; every
    other layer's costs its forward pass twice.
    """

    def __init__(self, network, trained=True):
        self.forward = self.backward = 0
        for module in network.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                module.register_forward_hook(self.count)
        self.trained = trained

    def count(self, module, inputs, output):
        if isinstance(module, nn.Conv2d):
            each = module.in_channels // module.groups * module.kernel_size[0] ** 2
        else:
            each = module.in_features
        macs = output.numel() * each
        self.forward += macs
        if self.trained and torch.is_grad_enabled():
            self.backward += macs * (2 if inputs[0].requires_grad else 1)


@pytest.mark.parametrize('key_forward', ['full', 'truncated'])
@pytest.mark.parametrize('exit_stage', [1, 2, 3, 4])
def test_every_exit_agrees_with_the_sum_over_layers(exit_stage, key_forward):
    runner = StepRunner(config(crop_layer=CROP, key_forward=key_forward), batch_size=4)
    model = runner.model
    query = LayerMacs(nn.ModuleList([model.backbone, model.neck]))
    key = LayerMacs(model.encoder_k, trained=False)
    n, m, dim, queue_len = 4, 2, 16, 32
    extra = []

    def scored(layer, args, out):
        (channels, height, width) = args[0].shape[1:]
        extra.append(2 * n * m * height * width * channels)  # pooling by a product
        extra.append(n * m * dim * queue_len + n * m * m * dim)  # negatives, pairs

    model.crop_layer.register_forward_hook(scored)
    cost = cost_of_step(runner, StepPlan(exit_stage))
    logits = n * dim * queue_len + n * dim
    assert cost['forward'] * n == query.forward + key.forward + sum(extra) + logits
    # towards q: one product with the queue and one with the key
    assert cost['backward'] * n == query.backward + logits
    assert len(extra) == 2 * min(exit_stage - 1, 2)


def test_upstream_model_has_one_cost():
    runner = StepRunner(config(accel=False), batch_size=4)
    assert list(runner.variants.values()) == [(1.0, None)]
    layers = LayerMacs(nn.ModuleList([runner.model.backbone, runner.model.neck]))
    keys = LayerMacs(runner.model.encoder_k, trained=False)
    cost = cost_of_step(runner)
    assert cost['forward'] * 4 == layers.forward + keys.forward + 4 * 16 * 33
    assert cost['activation_mb'] > 0


def test_resnet50_forward_matches_the_published_count():
    """4.09 GMACs at 224 px (He et al. 2016 count 3.8 G without the shortcuts)."""
    from mmselfsup.registry import MODELS
    from torch.utils.flop_counter import FlopCounterMode

    network = MODELS.build(dict(type='mmselfsup.ResNet', depth=50)).to('meta')
    image = torch.empty(1, 3, 224, 224, device='meta')
    with FlopCounterMode(display=False) as counter:
        network(image)
    assert counter.get_total_flops() / 2e9 == pytest.approx(4.09, abs=0.005)


def test_activations_kept_grow_with_the_exit_and_shrink_with_windows():
    plain = StepRunner(config(), batch_size=4)
    windows = StepRunner(config(crop_layer=CROP), batch_size=4)
    whole = [cost_of_step(plain, StepPlan(e))['activation_mb'] for e in (1, 2, 3, 4)]
    cut = [cost_of_step(windows, StepPlan(e))['activation_mb'] for e in (1, 2, 3, 4)]
    assert whole == sorted(whole)
    assert cut[0] == whole[0]
    assert all(a < b for a, b in zip(cut[1:], whole[1:]))


def test_windows_of_swav_cost_less_than_its_whole_maps():
    cfg = config()
    counted = []
    for windows in (CROP, None):
        cfg.model = swav_config([2], crop_layer=windows)
        cost = cost_of_step(StepRunner(cfg, batch_size=4), StepPlan(4))
        counted.append(cost['forward'] + cost['backward'])
    assert counted[0] < counted[1]


def test_exits_that_are_never_drawn_are_left_out():
    runner = StepRunner(config(probs=(0, 1, 0, 3)), batch_size=4)
    assert runner.variants == {'2': (0.25, StepPlan(2)), '4': (0.75, StepPlan(4))}


def test_stages_of_a_schedule_cost_what_their_settings_cost_alone():
    """An exit on whole maps, on windows and on smaller views are different things."""
    cfg = config(probs=(0, 1, 0, 1), crop_layer=CROP)
    exits = cfg.custom_hooks[0].pop('exit_probs')
    cfg.custom_hooks[0].schedule = [
        dict(until=0.25, exit_probs=exits, view_scale=0.5),
        dict(until=0.75, exit_probs=exits),
        dict(until=1.0, exit_probs=(0, 0, 0, 1), windows=False),
    ]
    runner = StepRunner(cfg, batch_size=4)
    shares = {name: v.probability for name, v in runner.variants.items()}
    assert shares == {
        **{'2 x0.5': 0.125, '4 x0.5': 0.125, '2': 0.25, '4': 0.25},
        **{'4 whole': 0.25},
    }
    alone = {
        '2 x0.5': (StepRunner(config(crop_layer=CROP), 4, size=24), 2),
        '4': (StepRunner(config(crop_layer=CROP), 4), 4),
        '4 whole': (StepRunner(config(), 4), 4),
    }
    for name, (plain, exit_stage) in alone.items():
        assert cost_of_step(runner, runner.variants[name].plan) == cost_of_step(
            plain, StepPlan(exit_stage)
        )


@pytest.mark.parametrize(
    ('scheme', 'names'),
    [
        ('nearby_block', {f'{a}-{b}' for b in range(1, 5) for a in range(1, b + 1)}),
        ('skipping', {f'draw {i}' for i in range(1, 17)}),
    ],
)
def test_variants_of_other_schemes_cost_less_backward(scheme, names):
    cfg = config()
    cfg.custom_hooks[0].update_scheme = scheme
    runner = StepRunner(cfg, batch_size=4)
    assert set(runner.variants) == names
    assert sum(v.probability for v in runner.variants.values()) == pytest.approx(1)
    whole = cost_of_step(runner, StepPlan(4))
    for variant in list(runner.variants.values())[-2:]:
        cost = cost_of_step(runner, variant.plan)
        assert cost['forward'] == whole['forward']
        assert cost['backward'] < whole['backward']


def test_view_sizes_come_from_the_pipeline():
    cfg = config()
    assert input_shapes(cfg) == [(3, 48, 48)] * 2
    multi_crop = dict(
        type='MultiView',
        num_views=[2, 4],
        transforms=[
            [dict(type='RandomResizedCrop', size=160)],
            [dict(type='RandomResizedCrop', scale=(96, 80))],
        ],
    )
    cfg.train_dataloader.dataset.pipeline = [multi_crop]
    assert input_shapes(cfg) == [(3, 160, 160)] * 2 + [(3, 96, 80)] * 4
    cfg.train_dataloader.dataset.pipeline = []
    with pytest.raises(ValueError, match='give it with --size'):
        input_shapes(cfg)


def multi_crop(model):
    """Two views of 48 px and three of 24 px."""
    cfg = config()
    cfg.model = model
    views = cfg.train_dataloader.dataset.pipeline[0]
    views.num_views = [2, 3]
    views.transforms.append([dict(type='mmselfsup.RandomResizedCrop', size=24)])
    return cfg


@pytest.mark.parametrize('exit_stage', [2, 4])
@pytest.mark.parametrize('method', ['moco', 'simclr'])
def test_small_views_of_multi_crop_agree_with_the_sum_over_layers(method, exit_stage):
    make = dict(moco=moco_config, simclr=simclr_config)[method]
    runner = StepRunner(multi_crop(make()), batch_size=4)
    model = runner.model
    trained = LayerMacs(nn.ModuleList([model.backbone, model.neck]))
    keys = LayerMacs(getattr(model, 'encoder_k', nn.Identity()), trained=False)
    cost = cost_of_step(runner, StepPlan(exit_stage))
    n, small, dim, queue_len = 4, 3, 16, 32
    if method == 'moco':  # towards q alone
        forward = backward = (1 + small) * n * dim * (queue_len + 1)
    else:  # towards both sides of a product
        forward = (2 * n + small * n) * 2 * n * dim
        backward = 2 * forward
    assert cost['forward'] * n == trained.forward + keys.forward + forward
    assert cost['backward'] * n == trained.backward + backward


def test_a_given_size_is_that_of_the_largest_views():
    runner = StepRunner(multi_crop(moco_config()), batch_size=4, size=32)
    assert [x.shape[-1] for x in runner.images] == [32, 32, 16, 16, 16]


def test_a_measured_step_trains_the_model():
    runner = StepRunner(config(backbone=BACKBONE), batch_size=4, size=32)
    before = runner.model.backbone.conv1.weight.detach().clone()
    runner.step(StepPlan(2))
    assert not torch.equal(before, runner.model.backbone.conv1.weight)


def test_upstreams_own_optimizer_is_found():
    cfg = config()
    cfg.default_scope = 'mmselfsup'
    cfg.optim_wrapper.optimizer = dict(type='LARS', lr=0.1)
    assert type(StepRunner(cfg, 4).optim_wrapper.optimizer).__name__ == 'LARS'


@pytest.mark.parametrize('exit_stage', [1, 2, 3, 4])
def test_gradients_are_those_of_the_parameters_up_to_the_exit(exit_stage):
    runner = StepRunner(config(crop_layer=CROP), batch_size=4)
    trained = (
        *('backbone.conv1', 'backbone.bn1', f'neck.projectors.{exit_stage - 1}.'),
        *(f'backbone.layer{i}' for i in range(1, exit_stage + 1)),
    )
    expected = sum(
        p.numel() for n, p in runner.model.named_parameters() if n.startswith(trained)
    )
    cost = cost_of_step(runner, StepPlan(exit_stage=exit_stage))
    assert cost['gradient_mb'] == pytest.approx(4 * expected / 2**20, abs=1e-3)
