"""FreezeOut's learning rates, against plain per-stage groups and schedulers."""

import copy
import math

import pytest
import torch
from mmengine.hooks import Hook
from mmselfsup.engine.optimizers import LARS
from mmselfsup.registry import HOOKS

from mmaccel.engine.annealing import StageRates, numbers_of_stages, rate_factor
from mmaccel.engine.fused_lars import FusedLARS
from tests.builders import build, moco_config
from tests.small_run import run_config, train, write_dataset

TIMES = (0.25, 0.5, 0.75, 1.0)
OPTIMIZERS = dict(
    sgd=lambda groups: torch.optim.SGD(
        groups, lr=0.1, momentum=0.9, weight_decay=1e-2, nesterov=True
    ),
    adam=lambda groups: torch.optim.AdamW(groups, lr=0.1, weight_decay=0.1),
    lars=lambda groups: LARS(groups, lr=0.1, momentum=0.9, weight_decay=1e-2),
    fused_lars=lambda groups: FusedLARS(groups, lr=0.1, momentum=0.9),
)


def published(progress, time, scaled):
    """Rate of a layer over its first one (Brock et al. 2017)."""
    return (1 + math.cos(math.pi * progress / time)) / 2 / (time if scaled else 1)


@pytest.mark.parametrize('scaled', [False, True])
@pytest.mark.parametrize('name', OPTIMIZERS)
def test_steps_are_those_of_one_group_and_scheduler_per_stage(name, scaled):
    ours = build(moco_config()).backbone.double()
    theirs = copy.deepcopy(ours)

    # as paramwise_cfg makes them: norms in a group of their own
    norms = [p for p in ours.parameters() if p.ndim == 1]
    others = [p for p in ours.parameters() if p.ndim > 1]
    groups = [dict(params=others), dict(params=norms, lars_exclude=True)]
    optimizer = OPTIMIZERS[name](groups)
    cosine = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda i: (1 + math.cos(math.pi * i / 12)) / 2
    )
    rates = StageRates(optimizer, numbers_of_stages(ours))

    plain, schedules = [], []
    for stage, time in enumerate(TIMES, 1):
        part = [
            p
            for key, p in theirs.named_parameters()
            if f'layer{stage}' in key or (stage == 1 and 'layer' not in key)
        ]
        plain.append(dict(params=[p for p in part if p.ndim > 1]))
        plain.append(dict(params=[p for p in part if p.ndim == 1], lars_exclude=True))
        schedules += 2 * [lambda i, time=time: published(i / 12, time, scaled)]
    reference = OPTIMIZERS[name](plain)
    per_stage = torch.optim.lr_scheduler.LambdaLR(reference, schedules)

    generator = torch.Generator().manual_seed(0)
    for i in range(12):
        numbers = numbers_of_stages(ours)
        for p, q in zip(ours.parameters(), theirs.parameters()):
            frozen = i / 12 >= TIMES[numbers[p] - 1]
            noise = torch.randn(p.shape, generator=generator, dtype=p.dtype)
            p.grad, q.grad = (None, None) if frozen else (noise, noise.clone())
        rates.factors = [rate_factor(i / 12, time, scaled) for time in TIMES]
        before = [group['lr'] for group in optimizer.param_groups]
        optimizer.step()
        assert [group['lr'] for group in optimizer.param_groups] == before
        reference.step()
        cosine.step()
        per_stage.step()
    for p, q in zip(ours.parameters(), theirs.parameters()):
        torch.testing.assert_close(p, q, rtol=1e-8, atol=1e-10)


def test_a_stage_that_never_freezes_keeps_its_rate_bit_for_bit():
    assert {rate_factor(i / 997, 1.0, scaled=True) for i in range(997)} == {1.0}
    assert rate_factor(0.5, 0.5, scaled=False) == 0


@HOOKS.register_module()
class GroupRatesHook(Hook):
    """The rates written into one group per parameter for each iteration."""

    priority = 'NORMAL'  # takes them back before the schedulers go on

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        progress = runner.iter // 2 * 2 / runner.max_iters
        optimizer = runner.optim_wrapper.optimizer
        self.before = [group['lr'] for group in optimizer.param_groups]
        numbers = numbers_of_stages(runner.model.backbone)
        for group in optimizer.param_groups:
            (parameter,) = group['params']
            if numbers.get(parameter) == 1:
                group['lr'] *= max(
                    0,
                    published(progress, 0.75, True) / published(progress, 1, False),
                )

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        for group, rate in zip(
            runner.optim_wrapper.optimizer.param_groups, self.before
        ):
            group['lr'] = rate


@pytest.mark.parametrize('paramwise', [False, True])
def test_a_run_with_accumulated_gradients_and_schedulers(tmp_path, paramwise):
    """Against rates that are written into the groups and taken back."""
    data = write_dataset(tmp_path / 'data')
    last = dict(exit_probs=(0, 0, 0, 1))
    schedule = [dict(last, until=0.75), dict(last, entry_probs=(0, 1))]
    per_parameter = dict(norm_decay_mult=0.0)  # any setting gives a group to each
    wrapper = dict(
        optimizer=dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=1e-3),
        accumulative_counts=2,
    )

    def final(name, hooks, paramwise):
        cfg = run_config(
            data,
            tmp_path / name,
            accel=True,
            optim_wrapper=dict(
                wrapper, paramwise_cfg=per_parameter if paramwise else None
            ),
            param_scheduler=[dict(type='CosineAnnealingLR', T_max=8, by_epoch=False)],
            custom_hooks=hooks,
        )
        if not paramwise:
            cfg.optim_wrapper.pop('paramwise_cfg')
        runner = train(cfg)
        rates = [group['lr'] for group in runner.optim_wrapper.param_groups]
        return runner.model.state_dict(), rates[0]

    hook = dict(type='PartialBackpropHook', schedule=schedule)
    if not paramwise:  # groups per parameter that change nothing else
        per_parameter = dict(custom_keys=dict(backbone=dict(lr_mult=1.0)))
    ours, rate = final('ours', [dict(hook, anneal='scaled')], paramwise)
    theirs, same = final('theirs', [hook, dict(type='GroupRatesHook')], True)
    assert rate == same
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-5, atol=1e-7)
    plain, _ = final('plain', [hook], paramwise)
    moved = 'backbone.layer1.0.conv1.weight'
    assert not torch.allclose(ours[moved], plain[moved], rtol=1e-4)
