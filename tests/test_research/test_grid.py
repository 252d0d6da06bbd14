"""A declared grid: what is merged, how networks shrink, what makes runs different."""

import copy
import functools
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.dataset import Compose
from mmselfsup.registry import HOOKS, MODELS, PARAM_SCHEDULERS
from torch import nn

from mmaccel.engine.hooks.partial_backprop_hook import PartialBackpropHook
from mmaccel.errors import ConfigError
from mmaccel.evaluation import labelled_images
from mmaccel.evaluation.recipe import read_recipe, settings_digest
from mmaccel.models.plan import StepPlan
from research.study import grid as grid_module
from research.study.grid import Run, narrow, read_grid, shorten
from research.study.records import read_runs
from tests.builders import views

ROOT = Path(__file__).parents[2]
CONFIGS = sorted(
    str(p.relative_to(ROOT)) for p in (ROOT / 'research/configs').glob('*.py')
)
GRIDS = sorted(
    p.name
    for p in (ROOT / 'research/grids').glob('*.py')
    if p.name != 'variants.py'  # what the others have in common
)
BASELINE = 'research/configs/mocov2_r18_cifar10.py'
ACCEL = 'research/configs/accel-mocov2_r18_cifar10.py'
TEMPLATE = 'research/configs/{accel}{method}_r18_cifar10.py'
VARIANTS = {'baseline': {}, 'baseline-large': {'a.c': 5}, 'paper': {}, 'late': {'d': 4}}


def write(path, **grid):
    """A grid file; `config` and `variants` are there unless they are given."""
    grid = {'config': TEMPLATE, 'variants': VARIANTS, **grid}
    path.write_text('\n'.join(f'{key} = {value!r}' for key, value in grid.items()))
    return str(path)


def entry(**changes):
    """Declares one run, with changes."""
    return {**dict(methods=['mocov2'], variants=['paper'], epochs=[2]), **changes}


def run(**changes):
    """A short run of the baseline, with changes."""
    return Run(**{**dict(group='a/b', config=BASELINE, seed=0, epochs=7), **changes})


@pytest.fixture
def cached_configs(monkeypatch):
    """A config file is read once."""
    read = functools.lru_cache(grid_module.load_config)
    monkeypatch.setattr(
        grid_module, 'load_config', lambda path: copy.deepcopy(read(path))
    )


def test_lists_stand_for_all_their_combinations_in_order(tmp_path):
    runs = [
        dict(
            methods=['swav', 'mocov2'],
            variants=['paper', 'baseline'],
            epochs=[20, 5],
            seeds=[3, 1],
        ),
        entry(epochs=[1]),
    ]
    declared = read_grid(write(tmp_path / 'grid.py', runs=runs))
    names = [
        f'{method}/{variant}-{epochs}e/{seed}'
        for method in ('swav', 'mocov2')
        for variant in ('paper', 'baseline')
        for epochs in (20, 5)
        for seed in (3, 1)
    ]
    assert [r.name for r in declared] == [*names, 'mocov2/paper-1e/0']
    for r in declared:
        method, variant, epochs = re.split('[/-]', r.group)
        accel = {'paper': 'accel-', 'baseline': ''}[variant]
        assert r.config == f'research/configs/{accel}{method}_r18_cifar10.py'
        assert (f'{r.epochs}e', r.name) == (epochs, f'{r.group}/{r.seed}')


def test_common_settings_and_options_are_merged(tmp_path):
    """What is nearer to a run wins, but options only add up."""
    common = dict(
        width=16,
        evaluate_on=['held_out'],
        amp='bf16',
        options={'a.b': 1, 'a.c': 2, 'd': 0},
    )
    further = dict(width=32, evaluate_on=['held_out', 'test'], amp=None, stages=True)
    runs = [
        entry(variants=['baseline-large', 'late', 'paper']),
        entry(epochs=[3], variants=['late'], options={'a.b': 7, 'd': 7}, **further),
    ]
    large, late, paper, other = read_grid(
        write(tmp_path / 'grid.py', common=common, runs=runs)
    )
    same = dict(epochs=2, seed=0, width=16, evaluate_on=('held_out',), amp='bf16')
    assert large == Run(
        group='mocov2/baseline-large-2e',
        config=BASELINE,
        options={'a.b': 1, 'a.c': 5, 'd': 0},
        **same,
    )
    assert late == Run(
        group='mocov2/late-2e',
        config=ACCEL,
        options={'a.b': 1, 'a.c': 2, 'd': 4},
        **same,
    )
    assert paper.options == {'a.b': 1, 'a.c': 2, 'd': 0}
    assert other == Run(
        group='mocov2/late-3e',
        config=ACCEL,
        epochs=3,
        seed=0,
        width=32,
        evaluate_on=('held_out', 'test'),
        stages=True,
        options={'a.b': 7, 'a.c': 2, 'd': 4},
    )


def test_names_that_begin_with_baseline_are_not_accelerated(tmp_path):
    names = ['baseline', 'baseline-large', 'baselines', 'a-baseline', 'paper']
    variants = {name: {} for name in names}
    runs = [entry(methods=['simclr'], variants=names)]
    declared = read_grid(write(tmp_path / 'grid.py', variants=variants, runs=runs))
    upstream = 'research/configs/simclr_r18_cifar10.py'
    accelerated = 'research/configs/accel-simclr_r18_cifar10.py'
    assert [r.config for r in declared] == 3 * [upstream] + 2 * [accelerated]


@pytest.mark.parametrize(
    ('runs', 'names'),
    [
        ([], 'no runs'),
        ([entry(), entry()], 'two .* mocov2/paper-2e/0'),
        ([entry(seeds=[1, 1, 0])], 'two .* mocov2/paper-2e/1'),
        ([entry(variants=['early'])], 'early'),
        ([dict(variants=['paper'])], 'list of methods, epochs'),
        ([dict(methods=['a'], epochs=[1])], 'list of variants'),
        ([entry(methods='mocov2')], 'list of methods'),
        ([entry(epochs=2)], 'list of epochs'),
        ([entry(variants=[])], 'list of variants'),
        ([entry(seeds=3)], 'list of seeds'),
        ([entry(epoch=3, seed=1)], 'mocov2/paper: epoch, seed .* width$'),
        ([entry(group='x')], 'mocov2/paper: group'),
        ([entry(evaluate_on=['val'])], "evaluate_on is 'val'"),
        ([entry(evaluate_on='test')], "evaluate_on is 't'"),
        ([entry(amp='fp8')], "amp is 'fp8'"),
        ([entry(epochs=[0])], 'epochs is 0'),
        ([entry(epochs=[1.5])], 'epochs is 1.5'),
        ([entry(epochs=['4'])], "epochs is '4'"),
        ([entry(width=0)], 'width is 0'),
    ],
)
def test_a_grid_that_cannot_be_meant_is_rejected(tmp_path, runs, names):
    with pytest.raises(ConfigError, match=names):
        read_grid(write(tmp_path / 'grid.py', runs=runs))


def test_a_grid_without_its_variants_or_configs_is_rejected(tmp_path):
    path = tmp_path / 'grid.py'
    for name in ('variants', 'config'):
        lines = write(path, runs=[entry()]) and path.read_text().splitlines()
        path.write_text('\n'.join(x for x in lines if not x.startswith(f'{name} =')))
        with pytest.raises(ConfigError, match=f'has no {name}'):
            read_grid(str(path))
    with pytest.raises(ConfigError, match='{size}.py'):
        read_grid(write(path, runs=[entry()], config='{method}-{size}.py'))


def test_a_grid_takes_the_variants_of_its_base_and_adds_its_own(tmp_path):
    write(tmp_path / 'base.py', variants={'late': {'d': dict(_delete_=True, e=1)}})
    text = "_base_ = './base.py'\nvariants = {'small': {'f': dict(_delete_=True)}}\n"
    runs = [entry(variants=['small', 'late'])]
    (tmp_path / 'grid.py').write_text(text + f'runs = {runs!r}')
    small, late = read_grid(str(tmp_path / 'grid.py'))
    # mmengine takes `_delete_` out of what it merges; a run needs it later
    assert small.options == {'f': dict(_delete_=True)}
    assert late.options == {'d': dict(_delete_=True, e=1)}


def test_a_missing_grid_or_config_is_rejected(tmp_path):
    with pytest.raises(ConfigError, match='no grid .*none.py'):
        read_grid(str(tmp_path / 'none.py'))
    with pytest.raises(ConfigError, match='configs/none.py'):
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
    variants = {'baseline-adam': options}
    declared = entry(variants=list(variants), seeds=[0, 1])
    runs = read_grid(write(tmp_path / 'grid.py', variants=variants, runs=[declared]))
    for r in (runs[0], *runs):
        assert r.build().optim_wrapper.optimizer == adam
        assert r.options == options


def warm_up_and_cosine(warm, total):
    """Schedulers as configs declare them, by epoch and applied by iteration."""
    common = dict(by_epoch=True, convert_to_iter_based=True)
    return [
        dict(type='LinearLR', start_factor=0.01, begin=0, end=warm, **common),
        dict(
            type='CosineAnnealingLR',
            T_max=total - warm,
            begin=warm,
            end=total,
            **common,
        ),
    ]


def learning_rates(schedulers, epochs, epoch_length):
    """What MMEngine's schedulers make of a rate of 1, by iteration."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    built = [
        PARAM_SCHEDULERS.build(
            dict(cfg), default_args=dict(optimizer=optimizer, epoch_length=epoch_length)
        )
        for cfg in schedulers
    ]
    rates = []
    for _ in range(epochs * epoch_length):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        for scheduler in built:
            scheduler.step()
    return rates


def test_warm_up_and_cosine_are_shortened_in_proportion(cached_configs):
    declared = dict(param_scheduler=warm_up_and_cosine(20, 200))
    warm, cosine = run(epochs=4, options=declared).build().param_scheduler
    assert (warm.begin, warm.end, warm.start_factor) == (0, 0.4, 0.01)
    assert (cosine.begin, cosine.end, cosine.T_max) == (0.4, 4, 3.6)
    # the options' own length counts, where they have one
    declared['train_cfg.max_epochs'] = 400
    cfg = run(epochs=4, options=declared).build()
    warm, cosine = cfg.param_scheduler
    assert cfg.train_cfg.max_epochs == 4
    assert (warm.end, cosine.begin, cosine.end, cosine.T_max) == (0.2, 0.2, 2, 1.8)


def test_a_shortened_schedule_has_the_shape_of_the_whole():
    cfg = ConfigDict(
        train_cfg=dict(max_epochs=200), param_scheduler=warm_up_and_cosine(20, 200)
    )
    cfg.param_scheduler.append(dict(type='ConstantLR', factor=1.0))
    shorten(cfg, 4)
    assert cfg.param_scheduler.pop() == dict(type='ConstantLR', factor=1.0)
    # 200 iterations each: 20 of warm-up, and 180 of cosine
    short = learning_rates(cfg.param_scheduler, epochs=4, epoch_length=50)
    whole = learning_rates(warm_up_and_cosine(20, 200), epochs=200, epoch_length=1)
    assert short == pytest.approx(whole, abs=1e-6)
    assert short[0] == pytest.approx(0.01) and short.index(max(short)) in (19, 20)
    assert short[-1] < 1e-3 and short[110] == pytest.approx(0.5, abs=0.01)


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


def test_a_width_without_whole_channels_is_rejected():
    def model():
        return ConfigDict(backbone=dict(base_channels=64), neck=dict(in_channels=100))

    narrowed = model()
    narrow(narrowed, 32)
    assert narrowed == dict(
        backbone=dict(base_channels=32, stem_channels=32), neck=dict(in_channels=50)
    )
    with pytest.raises(ConfigError, match='width=8 .* 100'):
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
        dict(config=ACCEL),
        *(
            dict(options={name: value})
            for name, value in {
                'model.head.temperature': 0.3,
                'train_dataloader.batch_size': 64,
                'train_dataloader.dataset.pipeline.0.transforms.0.0.size': 16,
                'train_cfg.val_interval': 3,
                'optim_wrapper.optimizer.lr': 0.5,
                'param_scheduler.0.eta_min': 0.001,
                'custom_hooks': [],
                'fast_views': False,
                'default_hooks.knn.interval': 7,
                'default_hooks.knn.max_train': 100,
                'default_hooks.knn.temperature': 0.1,
                'default_hooks.knn.test_dataloader.dataset.part': 'train',
            }.items()
        ),
    ],
    ids=lambda changes: '-'.join(changes.get('options', changes)),
)
def test_keys_tell_runs_apart(changes, key, cached_configs):
    assert run(**changes).key != key


@pytest.mark.parametrize(
    'options',
    [
        {'default_hooks.checkpoint.interval': 3},
        {'default_hooks.checkpoint.max_keep_ckpts': 9},
        {'default_hooks.logger.interval': 9},
        {'log_level': 'ERROR', 'log_processor.window_size': 9},
        {'visualizer.vis_backends': [], 'vis_backends': []},
    ],
    ids=lambda options: '-'.join(options),
)
def test_keys_do_not_change_with_what_is_logged_and_saved(options, key, cached_configs):
    changed = run(options=options)
    plain = run().build()
    assert changed.build()._cfg_dict != plain._cfg_dict  # these settings are there
    assert changed.key == key


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


@pytest.mark.parametrize('name', GRIDS)
def test_every_run_of_every_grid_is_sound_and_unlike_the_others(name, cached_configs):
    """Each builds its config, network and hooks, before hours are spent on others."""
    path = ROOT / 'research/grids' / name
    variants = Config.fromfile(path).variants
    methods = {re.sub('^accel-|_r18_cifar10$', '', Path(c).stem) for c in CONFIGS}
    runs = read_grid(str(path))
    named, keyed, built = {}, {}, set()
    for r in runs:
        method, variant, epochs, seed = re.fullmatch(
            r'([^/]+)/([^/]+)-(\d+)e/(\d+)', r.name
        ).groups()
        assert method in methods and variant in variants
        assert (r.epochs, r.seed) == (int(epochs), int(seed))
        accel = not variant.startswith('baseline')
        assert Path(r.config).stem == f'{"accel-" * accel}{method}_r18_cifar10'

        cfg = r.build('/elsewhere')
        assert cfg.train_cfg.max_epochs == r.epochs
        ends = [s.end for s in cfg.param_scheduler]  # none: the rate is constant
        assert not ends or max(ends) == r.epochs
        assert cfg.model.type.startswith('Accel') == accel
        assert named.setdefault(r.name, r) is r
        assert keyed.setdefault(r.key, r) is r, f'{r.name} is {keyed[r.key].name}'
        if (method, variant) not in built:
            model = MODELS.build(replace(r, width=8).build().model)  # a small one
            for hook in map(HOOKS.build, cfg.custom_hooks):
                if isinstance(hook, PartialBackpropHook):
                    hook.check_model(model)
            pipeline = Compose(labelled_images.test_pipeline(cfg)[1:])
            image = pipeline(dict(img=np.zeros((32, 32, 3), np.uint8), gt_label=0))
            assert image['inputs'][0].shape == (3, 32, 32)  # as protocol.md has it
            built.add((method, variant))
    assert len(named) == len(keyed) == len(runs) > 0


def test_grids_share_no_group_unless_they_share_its_runs(cached_configs):
    """Their records lie in one file, where a group is of one setting."""
    groups = {}
    for name in GRIDS:
        for r in read_grid(str(ROOT / 'research/grids' / name)):
            settings = (r.config, r.epochs, dict(r.options), r.width, r.amp)
            assert groups.setdefault(r.group, settings) == settings, r.group


def test_evaluation_is_not_part_of_the_key_but_of_the_status(key):
    evaluated = run(evaluate_on=('held_out', 'test'), stages=True)
    assert evaluated.key == key
    ok = dict(status='ok')
    one = dict(ok, held_out=dict(knn={}, stages={}))
    linear = dict(one, test=dict(knn={}, linear={}))
    both = dict(one, test=dict(knn={}, stages={}))
    records = [None, dict(status='failed'), ok, one, linear, both]
    assert [evaluated.status(r) for r in records] == [
        *('missing', 'failed', 'trained', 'trained', 'trained', 'ok')
    ]
    assert run().status(ok) == 'ok'


def test_recipes_tell_all_variants_apart(cached_configs):
    """Runs of one recipe and digest count as seeds of each other in the tables."""
    found, digests = {}, {}
    for run in read_grid('research/grids/cpu.py'):
        if run.group.startswith('simclr/') and run.seed == 0:
            cfg = run.build('elsewhere')
            found.setdefault(read_recipe(cfg), set()).add(run.group)
            digests.setdefault(settings_digest(cfg), set()).add(run.group)
    assert all(len(groups) == 1 for groups in digests.values())
    assert len(digests) == len(set().union(*found.values()))
    same = [
        {re.sub(r'-\d+e$', '', group) for group in groups} for groups in found.values()
    ]
    # of the optimizer and of the crops' areas the digest alone speaks
    assert [names for names in same if len(names) > 1] == [
        {'simclr/pb-sum', 'simclr/pb-sum-lr'},
        {'simclr/paper-sum', 'simclr/paper-sum-large-views'},
    ]


def test_recorded_runs_are_those_of_the_grids(cached_configs):
    """A record of a run whose settings were written anew would train it again."""
    recorded = {r['name']: r['key'] for r in read_runs(ROOT / 'research/records.jsonl')}
    declared = {
        r.name: r.key
        for name in GRIDS
        for r in read_grid(str(ROOT / 'research/grids' / name))
        if r.name in recorded
    }
    assert len(declared) > 100
    outdated = [name for name, key in declared.items() if recorded[name] != key]
    assert not outdated, 'see --adopt-records of research/run.py'
