"""A declared grid: what is merged, how networks shrink, what makes runs different."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmselfsup.registry import MODELS
from torch import nn

from mmaccel.engine.plan import StepPlan
from mmaccel.errors import ConfigError
from mmaccel.study.grid import Run, narrow, read_grid
from tests.builders import views

ROOT = Path(__file__).parents[2]
CONFIGS = sorted(
    str(p.relative_to(ROOT)) for p in (ROOT / 'configs/study').glob('*.py')
)
BASELINE = 'configs/study/mocov2_r18_cifar10.py'
ACCEL = 'configs/study/accel-mocov2_r18_cifar10.py'


def write(path, **grid):
    path.write_text('\n'.join(f'{key} = {value!r}' for key, value in grid.items()))
    return str(path)


def run(**changes):
    """A short run of the baseline, with changes."""
    return Run(**{**dict(group='a/b', config=BASELINE, seed=0, epochs=7), **changes})


def test_common_settings_and_options_are_merged(tmp_path):
    grid = write(
        tmp_path / 'grid.py',
        common=dict(
            config=BASELINE,
            epochs=30,
            width=16,
            seeds=[3, 1],
            judge=['held_out'],
            options={'a.b': 1, 'a.c': 2},
        ),
        runs=[
            dict(group='m/plain'),
            dict(
                group='m/other',
                config=ACCEL,
                epochs=10,
                seeds=[0],
                judge=['held_out', 'test'],
                options={'a.c': 3, 'd': None},
                amp='bf16',
                stages=True,
            ),
        ],
    )
    common = dict(group='m/plain', config=BASELINE, epochs=30, width=16)
    common.update(judge=('held_out',), options={'a.b': 1, 'a.c': 2})
    other = dict(group='m/other', config=ACCEL, epochs=10, width=16, seed=0)
    other.update(judge=('held_out', 'test'), amp='bf16', stages=True)
    assert read_grid(grid) == [
        Run(seed=3, **common),
        Run(seed=1, **common),
        Run(options={'a.b': 1, 'a.c': 3, 'd': None}, **other),
    ]
    assert [r.name for r in read_grid(grid)] == ['m/plain/3', 'm/plain/1', 'm/other/0']


@pytest.mark.parametrize(
    ('runs', 'message'),
    [
        ([], 'has no runs; a grid is a config with a list of them'),
        (
            [dict(group='x'), dict(group='x')],
            'two runs called x/0; give .* other seeds',
        ),
        (
            [dict(group='x', seeds=[1, 1])],
            'two runs called x/1; give one another group',
        ),
        ([dict(group='x', epoch=3)], "x: .*'epoch'; a run has group, config, epochs,"),
        ([dict(epochs=3)], "'group'; a run has group, .*stages, seeds$"),
        (
            [dict(group='x', judge=['val'])],
            "x/0: judge is 'val'; use .*'held_out', 'te",
        ),
        ([dict(group='x', judge='test')], "x/0: judge is 't'; use one of"),
        ([dict(group='x', amp='fp8')], "x/0: amp is 'fp8'; use one of .*'bf16'"),
        ([dict(group='x', epochs=0)], 'x/0: epochs must be 1 or more'),
        ([dict(group='x', width=0)], 'x/0: width must be 1 or more'),
    ],
)
def test_a_grid_that_cannot_be_meant_is_refused(tmp_path, runs, message):
    common = dict(config=BASELINE, epochs=1)
    with pytest.raises(ConfigError, match=message):
        read_grid(write(tmp_path / 'grid.py', common=common, runs=runs))


def test_a_missing_grid_or_config_is_refused(tmp_path):
    with pytest.raises(ConfigError, match='no grid .*none.py; grids are in configs/'):
        read_grid(str(tmp_path / 'none.py'))
    with pytest.raises(ConfigError, match='there is no config file configs/none.py'):
        run(config='configs/none.py').build()


def test_schedule_options_and_data_reach_the_config():
    options = {
        'model.head.temperature': 0.3,
        'train_dataloader.dataset.pipeline.0.transforms.0.0.size': 16,
        'optim_wrapper.optimizer': dict(_delete_=True, type='Adam', lr=0.5),
    }
    cfg = run(options=options).build('/elsewhere')
    assert cfg.train_cfg.max_epochs == 7
    (scheduler,) = cfg.param_scheduler
    assert (scheduler.T_max, scheduler.end) == (7, 7)
    assert cfg.model.head.temperature == 0.3
    assert cfg.optim_wrapper.optimizer == dict(type='Adam', lr=0.5)
    assert cfg.train_dataloader.dataset.pipeline[0].transforms[0][0].size == 16
    sets = [
        cfg.train_dataloader.dataset,
        cfg.default_hooks.knn.train_dataloader.dataset,
        cfg.default_hooks.knn.test_dataloader.dataset,
    ]
    assert [(s.data_root, s.part) for s in sets] == [
        ('/elsewhere/train', 'train'),
        ('/elsewhere/train', 'train'),
        ('/elsewhere/train', 'held_out'),
    ]


def test_building_changes_no_options(tmp_path):
    """Mmengine takes ``_delete_`` out of what it merges; every seed needs it."""
    adam = dict(type='Adam', lr=0.5)
    options = {'optim_wrapper': dict(optimizer=dict(_delete_=True, **adam))}
    run = dict(group='x', config=BASELINE, epochs=1, seeds=[0, 1], options=options)
    runs = read_grid(write(tmp_path / 'grid.py', runs=[run]))
    for r in (runs[0], *runs):
        assert r.build().optim_wrapper.optimizer == adam
        assert r.options == options


@pytest.mark.parametrize('config', CONFIGS)
def test_narrow_networks_fit_together(config):
    cfg = run(config=config, width=8).build()
    model = MODELS.build(cfg.model).train()
    if cfg.model.type.startswith('Accel'):
        model.plan = StepPlan(exit_stage=4, window_seed=(0, 0, 0))
    losses = model.loss(views(batch=4, size=16), [])
    loss = sum(value for key, value in losses.items() if 'loss' in key)
    loss.backward()
    assert torch.isfinite(loss)

    convolutions = [m for m in model.backbone.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 20  # ResNet-18
    widths = [c.out_channels for c in convolutions]
    assert (widths[0], set(widths), widths[-1]) == (8, {8, 16, 32, 64}, 64)
    assert all(c.weight.grad.any() for c in convolutions)
    hidden = cfg.model.neck.get('hid_channels')
    assert hidden == (None if 'mocov1' in config else 64)  # of 512
    assert cfg.model.neck.out_channels == 128


def test_a_width_without_whole_channels_is_refused():
    def model():
        return ConfigDict(backbone=dict(base_channels=64), neck=dict(in_channels=100))

    narrowed = model()
    narrow(narrowed, 32)
    assert narrowed == dict(
        backbone=dict(base_channels=32, stem_channels=32), neck=dict(in_channels=50)
    )
    with pytest.raises(ConfigError, match='width=8 leaves no whole channels of 100; u'):
        narrow(model(), 8)


@pytest.fixture(scope='module')
def key():
    return run().key


@pytest.mark.parametrize(
    'changes',
    [
        dict(seed=1),
        dict(epochs=8),
        dict(width=32),
        dict(amp='bf16'),
        dict(judge=('test',)),
        dict(stages=True),
        dict(options={'model.head.temperature': 0.3}),
        dict(config=ACCEL),
    ],
)
def test_keys_tell_runs_apart(changes, key):
    assert run(**changes).key != key


def test_keys_do_not_change_with_names_order_or_place(monkeypatch, tmp_path):
    options = {'model.momentum': 0.9, 'model.head.temperature': 0.3}
    one = run(options=options)
    one.build('/elsewhere')
    other = run(group='c', options=dict(reversed(list(options.items()))))
    monkeypatch.chdir(tmp_path)
    assert one.key == other.key


def test_keys_change_with_a_configs_content_alone(tmp_path, key):
    text = f'_base_ = {str(ROOT / BASELINE)!r}\n'
    keys = []
    for name, more in (('a', ''), ('b', ''), ('a', 'model = dict(momentum=0.9)\n')):
        (tmp_path / f'{name}.py').write_text(text + more)
        keys.append(run(config=str(tmp_path / f'{name}.py')).key)
    assert keys[0] == keys[1] == key
    assert keys[2] != keys[0]
    assert Config.fromfile(tmp_path / 'a.py').model.momentum == 0.9
