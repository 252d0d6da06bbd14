"""``fast_views = True`` on configs as they are, and on runs that are resumed."""

import copy
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmselfsup.registry import MODELS, TRANSFORMS

from mmaccel.engine.config import load_config, prepare_config
from mmaccel.engine.fast_views import use_fast_views
from mmaccel.engine.preflight import check_views
from mmaccel.errors import ConfigError
from mmaccel.models import ViewPreprocessor
from tests.folder_run import write_config, write_images

ROOT = Path(__file__).parents[2] / 'configs'
CONFIGS = sorted(
    str(path.relative_to(ROOT))
    for folder in ('accel', 'baselines', 'small')
    for path in (ROOT / folder).glob('*.py')
)
UPSTREAM = [
    'mocov1/mocov1_resnet50_8xb32-steplr-200e_in1k.py',
    'mocov2/mocov2_resnet50_8xb32-coslr-200e_in1k.py',
    'simclr/simclr_resnet50_8xb32-coslr-200e_in1k.py',
    'byol/byol_resnet50_8xb32-accum16-coslr-200e_in1k.py',
    'swav/swav_resnet50_8xb32-mcrop-2-6-coslr-200e_in1k-224-96.py',
]


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp('images')
    write_images(folder, number=16, size=70)
    return folder


def dataset_of(cfg):
    dataset = cfg.train_dataloader.dataset
    while 'pipeline' not in dataset:
        dataset = dataset.dataset
    return dataset


def multi_view(cfg):
    pipeline = dataset_of(cfg).pipeline
    return next(t for t in pipeline if t.type.endswith('MultiView'))


def one_batch(cfg, image):
    """A batch of two as the loader's workers give it, through the preprocessor."""
    init_default_scope('mmselfsup')
    pipeline = Compose([TRANSFORMS.build(t) for t in dataset_of(cfg).pipeline])
    samples = [pipeline(dict(image))['inputs'] for _ in range(2)]
    data = dict(inputs=[torch.stack(x) for x in zip(*samples)], data_samples=[])
    preprocessor = MODELS.build(copy.deepcopy(cfg.model.data_preprocessor))
    assert isinstance(preprocessor, ViewPreprocessor)
    return data['inputs'], preprocessor(data, True)[0]


@pytest.mark.parametrize(
    'name', [*CONFIGS, *(f'mmselfsup::selfsup/{name}' for name in UPSTREAM)]
)
def test_one_line_serves_every_config(name, images):
    path = name if '::' in name else str(ROOT / name)
    cfg = load_config(path, dict(fast_views=True))
    before = copy.deepcopy(multi_view(cfg))
    prepare_config(cfg)
    once = copy.deepcopy(cfg._cfg_dict)
    prepare_config(cfg)
    assert cfg._cfg_dict == once

    load, pack = dataset_of(cfg).pipeline
    assert load.type == 'LoadViews' and pack.type.endswith('PackSelfSupInputs')
    after = cfg.model.data_preprocessor
    for whole, crops, rest in zip(before.transforms, load.transforms, after.transforms):
        assert [*crops, *rest] == whole  # with all that the user set
        assert len(crops) == 1
    check_views(cfg, MODELS.get(cfg.model.type))

    counts = before.num_views
    counts = [counts] if isinstance(counts, int) else counts
    sizes = [
        view[0]['size'] for view, n in zip(before.transforms, counts) for _ in range(n)
    ]
    channels = cfg.model.backbone.get('in_channels', 3)
    image = dict(img_path=str(next(images.glob('*.jpg'))))
    if channels == 1:  # the set brings arrays
        image = dict(img=np.zeros((28, 28), np.uint8) + 100)
    raw, views = one_batch(cfg, image)
    assert [tuple(x.shape) for x in raw] == [(2, channels, n, n) for n in sizes]
    for x, y in zip(raw, views):
        assert x.dtype == torch.uint8 and y.dtype == torch.float32
        assert x.shape == y.shape and torch.isfinite(y).all()
    assert sum(not torch.equal(x[0], x[1]) for x in views) >= len(views) - 1


def test_it_is_off_unless_asked_for():
    plain = load_config(str(ROOT / 'accel/mocov2_r50_8xb32.py'))
    off = load_config(str(ROOT / 'accel/mocov2_r50_8xb32.py'), dict(fast_views=False))
    for cfg in (plain, off):
        prepare_config(cfg)
        assert [t.type for t in dataset_of(cfg).pipeline] == [
            'LoadCheckedImage',
            'MultiView',
            'PackSelfSupInputs',
        ]
        assert 'ViewPreprocessor' not in cfg.model.data_preprocessor.get('type', '')


def test_what_is_split_stays_split():
    cfg = load_config(str(ROOT / 'accel/mocov2_r50_8xb32.py'), dict(fast_views=True))
    prepare_config(cfg)
    cfg.fast_views = False
    with pytest.raises(ConfigError, match='fast_views=False'):
        prepare_config(cfg)


@pytest.mark.parametrize('kornia', [True, False])
def test_an_accelerator_needs_kornia(monkeypatch, kornia):
    monkeypatch.setattr('mmaccel.engine.fast_views.get_device', lambda: 'cuda')
    find = importlib.util.find_spec
    monkeypatch.setattr(
        'mmaccel.engine.fast_views.importlib.util.find_spec',
        lambda name: (kornia or None) if name == 'kornia' else find(name),
    )
    cfg = load_config(str(ROOT / 'accel/mocov2_r50_8xb32.py'), dict(fast_views=True))
    if kornia:
        use_fast_views(cfg)
        assert cfg.model.data_preprocessor.type == 'ViewPreprocessor'
        return
    with pytest.raises(ConfigError, match='pip install kornia'):
        use_fast_views(cfg)


def change(cfg, what):
    dataset, view = dataset_of(cfg), multi_view(cfg).transforms[0]
    if what == 'transform':
        view.append(dict(type='mmcls.Lighting', eigval=[1.0], eigvec=[[1.0]]))
    elif what == 'misspelt':
        view.append(dict(type='RandomSolarise'))
    elif what == 'nested':
        view[1]['transforms'].append(dict(type='RandomRotation', degrees=5))
    elif what == 'first':
        view.insert(0, dict(type='RandomFlip', prob=0.5))
    elif what == 'foreign crop':
        view[0] = dict(type='mmcls.RandomResizedCrop', scale=32)
    elif what == 'between':
        dataset.pipeline.insert(1, dict(type='Resize', scale=256))
    elif what == 'preprocessor':
        cfg.model.data_preprocessor.type = 'mmselfsup.TwoNormDataPreprocessor'
    elif what == 'float':
        dataset.pipeline[0]['to_float32'] = True
    elif what == 'pipeline':
        dataset.pop('pipeline')


@pytest.mark.parametrize(
    ('what', 'named'),
    [
        ('transform', 'Lighting'),
        ('misspelt', 'RandomSolarise'),
        ('nested', 'RandomRotation'),
        ('first', 'finds RandomFlip'),
        ('foreign crop', 'mmcls.RandomResizedCrop'),
        ('between', 'finds Resize'),
        ('preprocessor', 'TwoNormDataPreprocessor'),
        ('float', 'to_float32'),
        ('pipeline', 'no pipeline'),
    ],
)
def test_what_cannot_be_split_is_refused_by_name(what, named):
    cfg = load_config(str(ROOT / 'accel/mocov2_r50_8xb32.py'), dict(fast_views=True))
    change(cfg, what)
    with pytest.raises(ConfigError, match=named) as caught:
        prepare_config(cfg)
    assert 'fast_views=False' in str(caught.value)


class Enough(Exception):
    """The iterations wanted are done."""


class Watch(Hook):
    """Keeps the views that each iteration trained on, and ends the run."""

    def __init__(self, views, last):
        self.views, self.last = views, last

    def before_train(self, runner):
        preprocessor = runner.model.data_preprocessor
        augment = preprocessor.augment

        def keep(inputs):
            result = augment(inputs)
            self.views[runner.iter] = [x.clone() for x in result]
            return result

        preprocessor.augment = keep

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.last:
            raise Enough


def views_of(config, work_dir, last, resume=False, **options):
    cfg = Config.fromfile(config)
    cfg.merge_from_dict(dict(options, fast_views=True, randomness=dict(seed=4)))
    cfg.train_dataloader.update(num_workers=0, persistent_workers=False)
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=2)
    cfg.work_dir, cfg.resume = str(work_dir), resume
    cfg.experiment_name = f'{work_dir.name}-{last}'
    cfg.visualizer.name = cfg.experiment_name
    runner = Runner.from_cfg(prepare_config(cfg))
    seen = {}
    runner.register_hook(Watch(seen, last), priority='LOWEST')
    with pytest.raises(Enough):
        runner.train()
    return seen, runner.model.state_dict()


def test_a_resumed_run_sees_the_same_views(tmp_path):
    write_images(tmp_path / 'images', number=16)
    config = write_config(tmp_path / 'run.py', tmp_path / 'images', accel=True)
    whole, weights = views_of(config, tmp_path / 'whole', 4)
    views_of(config, tmp_path / 'killed', 2)
    rest, resumed = views_of(config, tmp_path / 'killed', 4, resume=True)
    assert sorted(whole) == [0, 1, 2, 3] and sorted(rest) == [2, 3]
    for i in rest:
        for x, y in zip(whole[i], rest[i]):
            assert torch.equal(x, y)
    assert not torch.equal(whole[2][0], whole[3][0])
    for key in weights:
        assert torch.equal(weights[key], resumed[key]), key
