"""Configs for MMPretrain are those for MMSelfSup in the other host's words."""

from pathlib import Path

import pytest
import torch

from mmaccel import host
from mmaccel.engine.config import load_config, prepare_config
from mmaccel.engine.config_reader import dicts, pipeline, training_set, type_name, views
from mmaccel.engine.settings import check_settings
from mmaccel.models.preprocessors.sample_params import build_known, sample_params

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
NAMES = sorted(
    str(path.relative_to(CONFIGS / 'mmpretrain'))
    for folder in ('accel', 'small')
    for path in (CONFIGS / 'mmpretrain' / folder).glob('*.py')
)


def test_every_recipe_is_there():
    ours = {
        f'{folder}/{path.name}'
        for folder in ('accel', 'small')
        for path in (CONFIGS / folder).glob('*.py')
        if 'quickstart' not in path.name
    }
    assert ours == set(NAMES)


def essence(name, package):
    """What a training does, without the host's words."""
    cfg = load_config(str(CONFIGS / name))
    model = cfg.model
    momentum = model.get('momentum')
    loss = model.head.loss
    optimizer = dict(cfg.optim_wrapper.optimizer)
    hook = [h for h in cfg.get('custom_hooks') or () if 'Partial' in h['type']]
    return dict(
        model=model.type,
        layout=model.get('channels_last'),
        crop=model.get('crop_layer'),
        negatives=model.get('negatives'),
        rate=momentum is None or pytest.approx(package.update_rate(momentum)),
        queue_len=model.get('queue_len'),
        projector=model.neck.get('projector', model.neck.type),
        channels=[model.neck.get(f'{x}_channels') for x in ('in', 'hid', 'out')],
        temperature=model.head.get('temperature', loss.get('temperature')),
        crops=loss.get('num_crops'),
        backbone=[type_name(model.backbone), model.backbone.depth],
        norm=model.backbone.norm_cfg,
        optimizer=optimizer,
        paramwise=cfg.optim_wrapper.get('paramwise_cfg'),
        schedule=[dict(x) for x in cfg.param_scheduler],
        epochs=cfg.train_cfg.max_epochs,
        hook=hook,
        batch_size=cfg.train_dataloader.batch_size,
        base=cfg.get('auto_scale_lr'),
        views=views(training_set(cfg)),
        knn=cfg.default_hooks.get('knn', {}).get('interval'),
    )


@pytest.mark.parametrize('name', NAMES)
def test_a_recipe_trains_alike_in_both_hosts(both, name):
    theirs = essence(f'mmpretrain/{name}', host.MMPRETRAIN)
    ours = essence(name, host.MMSELFSUP)
    for part in ('schedule', 'optimizer'):
        ours[part], theirs[part] = map(plain, (ours[part], theirs[part]))
    assert theirs == ours


def plain(part):
    """Settings without those that have their default value."""
    default = dict(dampening=0, nesterov=False, eta_min=0, begin=0)
    parts = part if isinstance(part, list) else [part]
    return [
        {k: v for k, v in x.items() if k != '_scope_' and default.get(k, ...) != v}
        for x in parts
    ]


@pytest.mark.parametrize('name', NAMES)
def test_augmentations_draw_alike_in_both_hosts(both, name):
    steps = []
    for path in (name, f'mmpretrain/{name}'):
        cfg = load_config(str(CONFIGS / path))
        (multi,) = (
            t for t in pipeline(training_set(cfg)) if type_name(t) == 'MultiView'
        )
        with host.scope(cfg):
            for view in multi['transforms']:
                rng = torch.Generator().manual_seed(0)
                steps.append(sample_params(build_known(view[1:]), 32, rng))
    ours, theirs = steps[: len(steps) // 2], steps[len(steps) // 2 :]
    for mine, other in zip(ours, theirs, strict=True):
        assert [step.name for step in mine] == [step.name for step in other]
        for a, b in zip(mine, other):
            assert torch.equal(a.rows, b.rows)
            torch.testing.assert_close(a.values, b.values)


@pytest.mark.parametrize('fast', [False, True])
@pytest.mark.parametrize('name', NAMES)
def test_a_recipe_is_accepted_and_prepared(name, fast):
    if not host.MMPRETRAIN.is_installed:
        pytest.skip('mmpretrain is not installed')
    cfg = load_config(str(CONFIGS / 'mmpretrain' / name))
    check_settings(cfg)
    cfg.fast_views = fast
    cfg.launcher = 'none'
    prepare_config(cfg)
    assert cfg.default_hooks.checkpoint.type == 'SafeCheckpointHook'
    kinds = {type_name(node) for node in dicts(cfg.train_dataloader)}
    assert ('LoadViews' in kinds) == fast
    assert 'SeededDataset' in kinds
