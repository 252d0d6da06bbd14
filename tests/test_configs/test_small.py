"""The small recipes: data, model and monitor fit together; Accel adds a few lines."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.registry import init_default_scope
from mmselfsup.registry import DATASETS, HOOKS, MODELS

from mmaccel.evaluation.hooks.knn_hook import _build_loader
from mmaccel.models.plan import StepPlan
from tests.small_run import write_dataset

SMALL = Path(__file__).parents[2] / 'configs' / 'small'
CONFIGS = sorted(path.name for path in SMALL.glob('*.py'))
PAIRS = [name for name in CONFIGS if f'accel-{name}' in CONFIGS]


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """All three layouts, with a few images."""
    init_default_scope('mmselfsup')
    root = tmp_path_factory.mktemp('data')
    write_dataset(root / 'fashion-mnist', 8, 4)
    rng = np.random.default_rng(0)
    for split in ('train', 'test'):
        for kind in ('cat', 'dog'):
            folder = root / 'cifar10' / split / kind
            folder.mkdir(parents=True)
            for i in range(4):
                image = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                cv2.imwrite(str(folder / f'{i}.jpg'), image)
    (root / 'images').symlink_to(root / 'cifar10')
    return root


def load(name, root):
    """The config with its data below another root."""
    cfg = Config.fromfile(SMALL / name)

    def move(node):
        for key, value in list(node.items() if isinstance(node, dict) else []):
            if isinstance(value, str) and value.startswith('data/'):
                node[key] = str(root / value[len('data/') :])
            move(value)

    move(cfg.train_dataloader)
    move(cfg.default_hooks)
    cfg.train_dataloader.dataset.pop('indices', None)
    return cfg


@pytest.mark.parametrize('name', CONFIGS)
def test_data_and_model_fit(name, data):
    cfg = load(name, data)
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    assert len(dataset) in (8, 16)
    batch = default_collate([dataset[i] for i in range(4)])
    channels = 1 if 'fashion' in name else 3
    size = {'fashion': 28, 'cifar10': 32}.get(name.split('_r18_')[1][:7], 224)
    views = batch['inputs']
    assert [v.shape for v in views] == [(4, channels, size, size)] * 2
    assert not views[0].equal(views[1])

    if size == 224:  # a small backbone, for the time of the test
        cfg.model.backbone.update(base_channels=16, stem_channels=16)
        cfg.model.neck.update(in_channels=128)
        if 'accel' in name:
            cfg.model.neck.update(in_channels=(16, 32, 64, 128))
    model = MODELS.build(cfg.model).train()
    if 'accel' in name:
        model.plan = StepPlan(exit_stage=3, window_seed=(0, 0, 0))
    losses = model.loss(*model.data_preprocessor(batch, True))
    assert all(torch.isfinite(value).all() for value in losses.values())
    assert ('loss_exit3' in losses) == ('accel' in name)

    queue_len = cfg.model.get('queue_len', 0)  # SimCLR has none
    assert queue_len % cfg.train_dataloader.batch_size == 0
    assert cfg.auto_scale_lr.base_batch_size > 0
    assert cfg.param_scheduler[0].end == cfg.train_cfg.max_epochs


@pytest.mark.parametrize('name', [n for n in CONFIGS if 'folder' not in n])
def test_monitor_reads_the_labelled_set(name, data):
    hook = HOOKS.build(load(name, data).default_hooks.knn)
    train = _build_loader('train', hook.train_dataloader, hook.max_train)
    test = _build_loader('test', hook.test_dataloader, hook.max_test)
    assert len(train.dataset) == 8
    assert len(test.dataset) == (4 if 'fashion' in name else 8)
    labels = [int(s.gt_label.value) for b in train for s in b['data_samples']]
    assert sorted(set(labels)) == ([0, 1, 2, 3] if 'fashion' in name else [0, 1])


@pytest.mark.parametrize('name', PAIRS)
def test_accel_changes_the_method_alone(name):
    """A comparison needs equal data, schedule, seed and monitor on both sides."""
    baseline = Config.fromfile(SMALL / name).to_dict()
    accel = Config.fromfile(SMALL / f'accel-{name}').to_dict()
    assert Path(accel.pop('baseline')).name == name
    assert [hook['type'] for hook in accel.pop('custom_hooks')] == [
        'PartialBackpropHook'
    ]
    wrapper = accel.pop('model_wrapper_cfg')
    assert wrapper == dict(type='StagewiseDataParallel')
    ours, theirs = accel.pop('model'), baseline.pop('model')
    assert accel == baseline
    for key in ('queue_len', 'momentum', 'feat_dim', 'backbone', 'data_preprocessor'):
        assert ours.get(key) == theirs.get(key)
    for part in (ours['head'], theirs['head']):
        part.update(part['loss'])
    assert ours['head']['temperature'] == theirs['head']['temperature']
    assert ours['neck']['in_channels'][-1] == theirs['neck']['in_channels']


def test_every_baseline_has_its_accelerated_form():
    baselines = [name for name in CONFIGS if not name.startswith('accel-')]
    assert sorted(PAIRS) == baselines and len(PAIRS) == 7
