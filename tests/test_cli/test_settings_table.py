"""Every odd setting works, or is refused before training in a sentence that names it.

Each row is a setting, and what is expected of it: ``WORKS``, or words of the sentence.
"""

import copy
import re

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from tests.builders import moco_config, simclr_config, swav_config
from tests.folder_run import write_config, write_images
from tests.processes import exit_code

WORKS = None
DATA = 'train_dataloader.dataset'
PARAMWISE = 'optim_wrapper.paramwise_cfg.custom_keys'
CROP = dict(type='RandomResizedCrop', size=32, scale=(0.3, 1.0))
WINDOWS = dict(type='HardPairCropLayer', after_stages=(1, 2))
HOOK = dict(type='PartialBackpropHook')
VALIDATION = dict(
    val_dataloader=dict(
        batch_size=4,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(
            type='UnlabelledFolder',
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='PackSelfSupInputs'),
            ],
        ),
    ),
    val_cfg=dict(type='ValLoop'),
    val_evaluator=dict(type='mmcls.Accuracy'),
)


def model(**changes):
    """Overrides below ``model``."""
    return {f'model.{key}': value for key, value in changes.items()}


#: By method: settings of every model, then the model's own.
MODELS = {
    'accel-moco': dict(moco_config(crop_layer=dict(WINDOWS))),
    'moco': moco_config(False),
    'accel-simclr': simclr_config(crop_layer=dict(WINDOWS)),
    'simclr': simclr_config(False),
    'accel-swav': swav_config([2], crop_layer=dict(WINDOWS)),
    'swav': swav_config([2], False),
}

#: For every method.
COMMON = [
    ({}, WORKS),
    ({'train_dataloader.batch_size': '4'}, 'train_dataloader.batch_size'),
    ({'model.neck': None}, 'model.neck'),
    ({'model.head': None}, 'model.head'),
    ({'model.num_candidate': 3}, 'model.num_candidate'),
    ({'model.backbone.dept': 18}, 'model.backbone.dept.*depth'),
    ({'model.backbone.depth': 19}, 'model.backbone'),
    ({'model.backbone.in_channels': 1}, 'model'),
    ({'model.data_preprocessor.std': (0, 0, 0)}, 'model.data_preprocessor.std'),
    ({'optim_wrapper.optimizer.lr': -0.1}, 'optim_wrapper.optimizer.lr'),
    ({'train_cfg.max_epochs': 0}, 'train_cfg.max_epochs'),
    ({'optim_wrapper.accumulative_counts': 50}, 'accumulative_counts=50'),
]

ROWS = {
    'accel-moco': [
        (model(momentum=1.5), 'model.momentum=1.5'),
        (model(momentum=1.0), 'model.momentum=1.0'),
        (model(momentum='0.99'), 'model.momentum'),
        (model(feat_dim=24), 'feat_dim=24'),
        (model(queue_len=0), 'queue_len=0'),
        (model(queue_len=30), 'queue_len=30'),
        (model(queue_len=32.5), 'queue_len'),
        (model(loss_weights='abcd'), 'loss_weights'),
        (model(loss_weights=(0, 0, 0, 0)), 'loss_weights'),
        (model(loss_weights=(1, 1)), 'loss_weights'),
        (model(loss_weights=(1, 1, 1, -1)), 'loss_weights'),
        (model(loss_weights=(0, 0, 0, 1)), WORKS),
        (model(loss_on='all'), 'loss_on'),
        (model(loss_on='cumulative'), WORKS),
        (model(channels_last='False'), 'channels_last'),
        (model(channels_last=1), 'channels_last'),
        (model(channels_last=True), WORKS),
        (model(negatives='bach'), 'negatives'),
        (model(negatives='batch'), WORKS),
        (model(key_forward='half'), 'key_forward'),
        (model(key_forward='truncated'), WORKS),
        (model(crop_layer=None), WORKS),
        ({'model.head.temperature': -0.1}, 'temperature=-0.1'),
        ({'model.head.temperature': 0}, 'temperature=0'),
        ({'model.head.temperature': '0.2'}, 'temperature'),
        ({'model.head.temperture': 0.2}, 'temperture.*temperature'),
        ({'model.neck.in_channels': (8, 16, 32, 60)}, 'neck'),
        ({'model.neck.in_channels': 64}, 'neck'),
        ({'model.neck.hid_channels': 0}, 'neck.hid_channels'),
        ({'model.neck.type': 'MoCoV2Neck'}, 'neck'),
        ({'model.neck.type': 'IntermediatNeck'}, 'IntermediateNeck'),
        ({'model.crop_layer.crop_ratio': '0.75'}, 'crop_ratio'),
        ({'model.crop_layer.crop_ratio': 1.5}, 'crop_ratio'),
        ({'model.crop_layer.after_stages': (1, 1)}, 'after_stages'),
        ({'model.crop_layer.after_stages': (0, 1)}, 'after_stages'),
        ({'model.crop_layer.after_stages': '12'}, 'after_stages'),
        ({'model.crop_layer.num_candidates': 0}, 'num_candidates'),
        ({'model.crop_layer.num_candidates': True}, 'num_candidates'),
        ({'model.crop_layer.ratio': 0.5}, 'crop_layer.ratio.*crop_ratio'),
        ({'model.type': 'AccelMocco'}, 'AccelMoCo'),
        ({'model.backbone.type': 'mmcls.MobileNetV2'}, 'model.backbone.depth'),
        ({'model.backbone': dict(type='mmcls.MobileNetV2', out_indices=(7,))}, 'model'),
        ({'model.backbone.norm_cfg': dict(type='GN', num_groups=4)}, WORKS),
        ({'model.backbone.norm_cfg': dict(type='BM')}, 'norm_cfg|backbone'),
        ({'model.backbone.out_indices': [5]}, 'model.backbone'),
        ({'custom_hooks': [dict(HOOK, exit_probs=(1e308,) * 4)]}, 'exit_probs'),
        ({'custom_hooks': [dict(HOOK, exit_probs=(0, 0, 0, 0))]}, 'exit_probs'),
        ({'custom_hooks': [dict(HOOK, exit_probs='uniform')]}, 'exit_probs'),
        ({'custom_hooks': [dict(HOOK, exit_probs=(0.5, 0.5))]}, 'exit_probs'),
        ({'custom_hooks': [dict(HOOK, exit_prob=(1, 1, 1, 1))]}, 'exit_prob'),
        ({'custom_hooks': [dict(HOOK, measure_interval='50')]}, 'measure_interval'),
        ({'custom_hooks': [dict(HOOK, update_scheme='skip')]}, 'update_scheme'),
        ({'custom_hooks': [HOOK, HOOK]}, 'custom_hooks.0 and custom_hooks.1'),
        ({'custom_hooks': []}, WORKS),
        ({'custom_hooks': None}, WORKS),
        ({'custom_hooks': [dict(type='PartialBackproHook')]}, 'PartialBackpropHook'),
        ({'visualizer': None}, WORKS),
        ({'visualizer.vis_backends': None}, WORKS),
        ({'default_hooks': None}, WORKS),
        ({'default_hooks.knn': None}, WORKS),
        ({'default_hooks.logger': None}, WORKS),
        ({'default_hooks.checkpoint': None}, WORKS),
        ({'default_hooks.logger.interval': '2'}, 'default_hooks.logger.interval'),
        ({'default_hooks.checkpoint.interval': None}, 'default_hooks.checkpoint'),
        ({'default_hooks.checkpoint.filename_tmpl': 'ckpt'}, 'filename_tmpl'),
        ({'default_hooks.checkpoint.filename_tmpl': '{}-{}.pth'}, 'filename_tmpl'),
        ({'default_hooks.checkpoint.filename_tmpl': 'e{:03d}.pth'}, WORKS),
        ({'train_dataloader.batch_size': 0}, 'batch_size=0'),
        ({'train_dataloader.batch_size': 4.5}, 'batch_size'),
        ({'train_dataloader.num_workers': -1}, 'num_workers'),
        ({'train_dataloader.num_workers': '0'}, 'num_workers'),
        ({'train_dataloader.drop_last': 'True'}, 'drop_last'),
        ({'train_dataloader.drop_last': False}, 'drop_last'),
        ({'train_dataloader.sampler': None}, WORKS),
        ({'train_dataloader.sampler.shuffle': 'no'}, 'sampler.shuffle'),
        ({'train_dataloader.batchsize': 4}, 'train_dataloader'),
        ({f'{DATA}.type': 'UnlabeledFolder'}, 'UnlabelledFolder'),
        ({f'{DATA}.data_rot': 'x'}, 'data_rot.*data_root'),
        ({f'{DATA}.pipeline.1.num_views': 1}, 'num_views'),
        ({f'{DATA}.pipeline.1.transforms': [[dict(CROP, size='32')]]}, 'size'),
        ({f'{DATA}.pipeline.1.transforms': [[dict(CROP, sise=32)]]}, 'sise.*size'),
        ({f'{DATA}.pipeline.0.type': 'LoadImageFromFil'}, 'LoadImageFromFile'),
        ({'optim_wrapper.optimizer.lr': '0.05'}, 'optim_wrapper.optimizer.lr'),
        ({'optim_wrapper.optimizer.lr': -1.0}, 'optim_wrapper.optimizer.lr'),
        ({'optim_wrapper.optimizer.momentum': 2}, 'optimizer.momentum'),
        ({'optim_wrapper.optimizer.type': 'SDG'}, "'SGD'"),
        ({'optim_wrapper.optimizer.leaning_rate': 1}, 'optim_wrapper'),
        ({'optim_wrapper.accumulative_counts': 0}, 'accumulative_counts=0'),
        ({'optim_wrapper.accumulative_counts': 2}, WORKS),
        ({'optim_wrapper.clip_grad': dict(max_norm=0)}, 'max_norm'),
        ({'param_scheduler.0.T_max': 0}, 'T_max=0'),
        ({'param_scheduler.0.T_max': '2'}, 'T_max'),
        ({'param_scheduler.0.T_max': 1.5}, WORKS),
        ({'param_scheduler.0.end': 1.0}, WORKS),
        ({'param_scheduler.0.type': 'CosinAnnealingLR'}, 'CosineAnnealingLR'),
        ({'param_scheduler': None}, WORKS),
        ({'train_cfg.max_epochs': '1'}, 'max_epochs'),
        ({'train_cfg.max_epoch': 1}, 'max_epoch'),
        ({'train_cfg.type': 'EpochBasedTrainLop'}, 'EpochBasedTrainLoop'),
        ({'train_dataloader': None}, 'train_dataloader'),
        ({DATA: None}, DATA),
        ({'train_dataloader.num_workers': 2.0}, 'num_workers'),
        ({'train_dataloader.sampler.type': 'InfiniteSampler'}, 'InfiniteSampler'),
        (
            {'train_dataloader.num_workers': 1, 'train_dataloader.prefetch_factor': 0},
            'prefetch_factor',
        ),
        ({'model.data_preprocessor.mean': (1, 2)}, 'model.data_preprocessor'),
        ({'model.data_preprocessor.bgr_to_rgb': 'False'}, 'bgr_to_rgb'),
        ({'default_hooks': 'x'}, 'default_hooks'),
        ({'default_hooks.logger': 'LoggerHook'}, 'default_hooks.logger'),
        ({'default_hooks.runtime_info': None}, 'default_hooks.runtime_info'),
        ({'custom_hooks': ['PartialBackpropHook']}, 'custom_hooks.0'),
        ({'custom_hooks': [dict(exit_probs=(1, 1, 1, 1))]}, 'custom_hooks.0.*type'),
        ({'custom_hooks': [dict(HOOK, priority='HIHG')]}, 'custom_hooks'),
        ({'custom_hooks': [HOOK, dict(type='EMAHook', momentum=2)]}, 'custom_hooks.1'),
        ({'param_scheduler': 'cosine'}, 'param_scheduler'),
        ({'param_scheduler.0.by_epoch': 'True'}, 'param_scheduler.0.by_epoch'),
        (
            {'param_scheduler': [dict(type='StepLR', step_size=0, by_epoch=True)]},
            'param_scheduler.0.step_size',
        ),
        ({'log_processor': dict(window_size='10')}, 'log_processor.window_size'),
        ({'log_processor': dict(window_size=0)}, 'log_processor.window_size'),
        ({'log_level': 'INFOO'}, 'log_level'),
        ({'randomness': dict(sed=0)}, 'randomness.sed.*seed'),
        ({'randomness': dict(deterministic='False')}, 'randomness.deterministic'),
        ({'resume': 'True'}, 'resume'),
        ({'env_cfg': None}, WORKS),
        ({'env_cfg.dist_cfg': None}, WORKS),
        ({'env_cfg.cudnn_benchmark': 'False'}, 'env_cfg.cudnn_benchmark'),
        ({'env_cfg.mp_cfg': dict(mp_start_method='frok')}, 'env_cfg'),
        ({'custom_imports': None}, WORKS),
        ({'default_scope': 'mmselfsupp'}, "default_scope='mmselfsupp'"),
        ({'fast_views': 'False'}, 'fast_views'),
        ({'auto_scale_lr': 256}, 'auto_scale_lr'),
        ({'visualizer': 'SelfSupVisualizer'}, 'visualizer'),
        (
            {'visualizer.vis_backends': [dict(type='TensorbordVisBackend')]},
            'vis_backends.0.*TensorboardVisBackend',
        ),
        (
            {'optim_wrapper.paramwise_cfg': dict(custom_key={})},
            'WARNING.*paramwise_cfg.custom_key.*custom_keys',
        ),
        (
            {'optim_wrapper.paramwise_cfg': dict(custom_keys=dict(bckbone={}))},
            'WARNING.*custom_keys.bckbone is part of no parameter',
        ),
        (
            {PARAMWISE: dict(neck=dict(lr_mul=0.1))},
            'WARNING.*custom_keys.neck.lr_mul.*lr_mult',
        ),
        ({PARAMWISE: dict(neck=0.1)}, 'custom_keys.neck=0.1'),
        ({PARAMWISE: dict(neck=dict(lr_mult='1'))}, 'custom_keys.neck.lr_mult'),
        ({'optim_wrapper.paramwise_cfg': dict(norm_decay_mult='0')}, 'norm_decay_mult'),
        ({'optim_wrapper.optimizer.lr': 0}, 'optim_wrapper.optimizer.lr=0'),
        ({'optim_wrapper.clip_grad': dict(max_nrm=1)}, 'clip_grad.max_nrm'),
        ({'model.head.loss.loss_weight': -1.0}, 'head.loss.loss_weight=-1'),
        ({'model.backbone.frozen_stages': 4}, 'frozen_stages'),
        ({'model.backbone.frozen_stages': 1}, WORKS),
        (model(init_cfg=dict(type='Pretrained')), '^model has no pretrained'),
        (model(pretrained=3), 'model.pretrained=3'),
        ({'train_cfg.by_epoch': True}, 'train_cfg'),
        ({'matmul_precision': 'tf32'}, 'matmul_precision'),
        ({'matmul_precision': 'high'}, WORKS),
        ({'matmul_precison': 'high'}, 'WARNING.*matmul_precison'),
        ({'load_from': 3}, 'load_from=3'),
        ({'load_from': ''}, 'load_from='),
        ({'default_hooks.checkpoint.out_dir': '/dev/null'}, 'checkpoint.out_dir'),
        ({'default_hooks.checkpoint.interval': 0}, 'checkpoint.interval=0'),
        ({'default_hooks.checkpoint.interval': -1}, WORKS),
        ({'train_dataloader.collate_fn': dict(type='pseudo_collate')}, 'collate_fn'),
        ({f'{DATA}.data_root': 3}, f'{DATA}.data_root=3'),
        ({f'{DATA}.pipeline': []}, 'pipeline'),
        ({f'{DATA}.pipeline.1.transforms': [[dict(CROP, size=0)]]}, 'size=0'),
        ({f'{DATA}.pipeline.1.transforms': [[dict(CROP, size=-8)]]}, 'size=-8'),
        ({'auto_scale_lr': dict(enable=True)}, 'auto_scale_lr.base_batch_size'),
        ({'extract_dataloader': dict(batch_size=1)}, WORKS),
        ({'modle.momentum': 0.9}, 'WARNING.*modle.*model'),
        ({'train_dataloder.batch_size': 4}, 'WARNING.*train_dataloder'),
        ({'fast_view': True}, 'WARNING.*fast_view'),
        (VALIDATION, 'validation'),
    ],
    'moco': [
        (model(momentum=1.0), 'model.momentum'),
        (model(queue_len=0), 'queue_len'),
        ({'model.head.temperature': -0.1}, 'temperature'),
        ({'custom_hooks': [HOOK]}, 'PartialBackpropHook needs'),
    ],
    'accel-simclr': [
        ({'model.head.temperature': 0.0}, 'temperature'),
        ({'model.neck.projector': 'NonLinearNek'}, 'NonLinearNeck'),
        ({'model.backbone.type': 'mmcls.ResNetV1d'}, 'out_indices'),
        (model(queue_len=32), 'model.queue_len'),
        (model(momentum=0.9), 'model.momentum'),
        ({'model.crop_layer': dict(type='HardExampleLayer')}, WORKS),
        ({'model.crop_layer': dict(type='HardExampleLayer', keep=0)}, 'keep'),
    ],
    'simclr': [
        ({'model.head.temperature': 0}, 'temperature'),
        ({'train_dataloader.batch_size': 1}, 'train_dataloader.batch_size=1'),
    ],
    'accel-swav': [
        ({'model.head.loss.crops_for_assign': [0, 2]}, 'crops_for_assign'),
        ({'model.head.loss.crops_for_assign': []}, 'crops_for_assign'),
        ({'model.head.loss.crops_for_assign': [0, 0]}, 'crops_for_assign'),
        ({'model.head.loss.num_crops': [3]}, 'view'),
        ({'model.head.loss.feat_dim': 24}, 'feat_dim'),
        ({'model.head.loss.temperature': 0}, 'temperature'),
        ({'model.head.loss.epsilon': -1}, 'epsilon'),
        ({'model.head.loss.num_prototypes': 0}, 'num_prototypes'),
        ({'model.head.loss.sinkhorn_iterations': 0}, 'sinkhorn_iterations'),
        ({'model.crop_layer': dict(type='HardExampleLayer')}, 'HardExampleLayer'),
        ({'custom_hooks': [dict(type='SwAVHook', batch_size=None)]}, 'batch_size'),
    ],
    'swav': [
        ({'model.head.loss.crops_for_assign': [0, 5]}, 'crops_for_assign'),
        ({'model.head.loss.num_prototypes': '20'}, 'num_prototypes'),
    ],
}
TABLE = [
    pytest.param(method, changes, expected, id=f'{method}-{"-".join(changes)}-{i}')
    for method in MODELS
    for i, (changes, expected) in enumerate([*COMMON, *ROWS[method]])
]


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp('images')
    write_images(folder, 8)
    return folder


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    """Without what takes time and changes nothing; one thread."""
    monkeypatch.setattr('mmengine.runner.runner.collect_env', dict)
    monkeypatch.setattr(Config, 'pretty_text', property(plain_text))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def plain_text(cfg):
    return ''.join(f'{key} = {value!r}\n' for key, value in cfg.to_dict().items())


def start(tmp_path, images, capfd, method, changes):
    """Exit code and output of a training over one epoch of two steps."""
    path = tmp_path / 'run.py'
    write_config(path, images, accel=method.startswith('accel'), epochs=1)
    cfg = Config.fromfile(str(path))
    preprocessor = cfg.model.data_preprocessor
    cfg.model = dict(copy.deepcopy(MODELS[method]), data_preprocessor=preprocessor)
    cfg.train_dataloader.update(num_workers=0, persistent_workers=False)
    cfg.merge_from_dict(copy.deepcopy(changes))
    if cfg.get('val_dataloader'):
        cfg.val_dataloader.dataset.data_root = str(images)
    cfg.dump(str(path))
    DefaultScope._instance_dict.clear()  # of trainings before
    code = exit_code('train', path, '--work-dir', tmp_path / 'out', '--seed', 0)
    return code, ''.join(capfd.readouterr())


@pytest.mark.parametrize(('method', 'changes', 'expected'), TABLE)
def test_setting(tmp_path, images, capfd, method, changes, expected):
    code, text = start(tmp_path, images, capfd, method, changes)
    assert 'Traceback' not in text
    if expected is WORKS or expected.startswith('WARNING'):
        assert code == 0, text
        assert re.search(expected or 'Epoch|Done', text)
        return
    assert code == 1, text
    (sentence,) = re.findall('^error: (.*)', text, re.M)
    assert re.search(expected, sentence), sentence
    assert 'Epoch(train)' not in text
