import copy

import pytest
from mmengine.config import Config

from mmaccel.engine import config as module
from mmaccel.engine.config import load_config, prepare_config, set_work_dir
from mmaccel.engine.config_reader import training_set, type_name
from mmaccel.errors import ConfigError

BASELINE = 'mmselfsup::selfsup/mocov2/mocov2_resnet50_8xb32-coslr-200e_in1k.py'


@pytest.fixture
def machine(monkeypatch):
    """A machine with so many cores and this device."""

    def make(cores=8, device='cpu', processes=1):
        monkeypatch.setattr(module.os, 'sched_getaffinity', lambda _: range(cores))
        monkeypatch.setattr(module, 'get_device', lambda: device)
        monkeypatch.setenv('LOCAL_WORLD_SIZE', str(processes))

    make()
    return make


@pytest.fixture
def baseline(tmp_path, machine):
    """A config of upstream's, as a child inherits it."""

    def load(text='', launcher='none', **options):
        path = tmp_path / 'child.py'
        path.write_text(f'_base_ = {BASELINE!r}\n{text}')
        cfg = load_config(str(path), options)
        cfg.launcher = launcher
        return cfg

    return load


def types(cfgs):
    return [cfg['type'] for cfg in cfgs]


def test_upstreams_config_gets_what_resuming_needs(baseline):
    cfg = prepare_config(baseline())
    assert cfg.train_cfg.type == 'ResumableTrainLoop'
    assert cfg.train_cfg.max_epochs == 200
    loader = cfg.train_dataloader
    assert loader.sampler.type == 'EpochSampler' and loader.sampler.shuffle
    assert loader.dataset.type == 'SeededDataset'
    data = loader.dataset.dataset
    assert data.type == 'mmcls.ImageNet' and data.data_root == 'data/imagenet/'
    loading = ['LoadCheckedImage', 'MultiView', 'PackSelfSupInputs']
    assert types(data.pipeline) == loading
    assert cfg.default_hooks.checkpoint.type == 'SafeCheckpointHook'
    assert cfg.default_hooks.checkpoint.max_keep_ckpts == 3
    assert types(cfg.custom_hooks) == list(module._HOOKS)
    assert cfg.log_processor.type == 'AccelLogProcessor'
    assert types(cfg.visualizer.vis_backends) == [
        'LocalVisBackend',
        'TensorboardVisBackend',
    ]
    assert cfg.custom_imports['imports'] == ['mmaccel']


def test_preparing_twice_changes_nothing_and_the_dump_is_complete(baseline, tmp_path):
    cfg = baseline()
    set_work_dir(cfg, str(tmp_path / 'out'))
    prepare_config(cfg)
    before = copy.deepcopy(cfg.to_dict())
    assert prepare_config(cfg).to_dict() == before
    cfg.dump(str(tmp_path / 'dump.py'))
    again = Config.fromfile(str(tmp_path / 'dump.py'))
    assert prepare_config(again).to_dict() == before


def test_options_reach_the_data_of_a_dumped_config(baseline):
    cfg = prepare_config(baseline())
    cfg.merge_from_dict({'train_dataloader.dataset.data_root': 'photos'})
    prepare_config(cfg)
    assert set(cfg.train_dataloader.dataset) == {'type', 'dataset'}
    assert cfg.train_dataloader.dataset.dataset.data_root == 'photos'


def test_own_hooks_stay(baseline):
    text = "custom_hooks = [dict(type='EMAHook'), dict(type='mmselfsup.CurvesHook')]"
    found = [type_name(hook) for hook in prepare_config(baseline(text)).custom_hooks]
    assert found[:2] == ['EMAHook', 'CurvesHook']
    assert sorted(found) == sorted(['EMAHook', *module._HOOKS])


def test_loading_is_swapped_inside_dataset_wrappers(baseline):
    cfg = baseline()
    data = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = dict(
        type='ConcatDataset', datasets=[dict(type='RepeatDataset', dataset=data)]
    )
    prepare_config(cfg)
    assert training_set(cfg).pipeline[0].type == 'LoadCheckedImage'


def test_iteration_based_runs_keep_their_loop(baseline):
    cfg = baseline()
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=10)
    cfg.train_dataloader.sampler = dict(type='InfiniteSampler')
    prepare_config(cfg)
    assert cfg.train_cfg.type == 'IterBasedTrainLoop'
    assert cfg.train_dataloader.sampler.type == 'EndlessSampler'
    assert cfg.train_dataloader.dataset.type == 'SeededDataset'


@pytest.mark.parametrize('package', ['mmdet', 'mmseg'])
def test_other_packages_keep_their_parts(baseline, package):
    cfg = baseline()
    cfg.default_scope = package
    before = copy.deepcopy(cfg.to_dict())
    prepare_config(cfg)
    before['env_cfg']['dist_cfg']['backend'] = 'gloo'
    assert cfg.to_dict() == before


def test_work_dir(baseline, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = baseline()
    set_work_dir(cfg)
    assert cfg.work_dir == 'work_dirs/child' == cfg.visualizer.save_dir
    set_work_dir(cfg, 'elsewhere')  # as with a dumped config
    assert cfg.work_dir == 'elsewhere' == cfg.visualizer.save_dir
    cfg.visualizer.save_dir = 'curves'
    set_work_dir(cfg, 'out')
    assert cfg.work_dir == 'out' and cfg.visualizer.save_dir == 'curves'


@pytest.mark.parametrize(
    ('cores', 'processes', 'asked', 'given'),
    [(8, 1, 8, 8), (8, 1, 16, 16), (8, 1, 17, 8), (2, 2, 8, 1), (8, 4, 2, 2)],
)
def test_absurd_worker_numbers_are_lowered(
    baseline, machine, cores, processes, asked, given
):
    machine(cores, processes=processes)
    options = {'train_dataloader.num_workers': asked}
    cfg = prepare_config(baseline(launcher='pytorch', **options))
    assert cfg.train_dataloader.num_workers == given
    assert cfg.train_dataloader.persistent_workers


def test_without_workers_their_options_go(baseline):
    options = {'train_dataloader.num_workers': 0, 'train_dataloader.prefetch_factor': 4}
    cfg = prepare_config(baseline(**options))
    assert not cfg.train_dataloader.persistent_workers
    assert 'prefetch_factor' not in cfg.train_dataloader


def test_launcher_takes_what_the_machine_has(baseline, machine):
    cfg = baseline(launcher='pytorch', find_unused_parameters=True)
    prepare_config(cfg)
    assert cfg.env_cfg.dist_cfg.backend == 'gloo'
    assert cfg.model_wrapper_cfg.type == 'CPUDistributedDataParallel'
    assert cfg.model_wrapper_cfg.find_unused_parameters
    machine(device='cuda')
    for moved in (cfg, baseline(launcher='pytorch')):  # the dumped config, a fresh one
        prepare_config(moved)
        assert moved.env_cfg.dist_cfg.backend == 'nccl'
        assert 'model_wrapper_cfg' not in moved


def test_missing_file_is_refused():
    with pytest.raises(ConfigError, match='none.py'):
        load_config('none.py')
