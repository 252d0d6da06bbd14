"""Every config trains two steps at reduced size, saves, resumes and exports."""

import copy
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmselfsup.registry import MODELS

from mmaccel.engine.config import load_config, prepare_config, set_work_dir
from mmaccel.engine.config_reader import dicts
from tests.folder_run import write_images

ROOT = Path(__file__).parents[2]
CONFIGS = sorted(
    str(path.relative_to(ROOT))
    for folder in (
        *(f'configs/{name}' for name in ('accel', 'ablations', 'baselines', 'small')),
        'research/configs',
    )
    for path in (ROOT / folder).glob('*.py')
)
SIZES = {224: 64, 196: 48, 160: 64, 128: 32, 96: 32}


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp('images')
    write_images(folder / 'class', number=16, size=70)
    return folder


def shrink(model):
    """An eighth of a model's channels, a short queue, few prototypes; in place."""
    backbone, neck = model.backbone, model.neck
    backbone.update(base_channels=8, stem_channels=8)
    wide = 4 if backbone.depth >= 50 else 1
    channels = tuple(8 * wide * 2**i for i in range(4))
    single = isinstance(neck.in_channels, int)
    neck.in_channels = channels[-1] if single else channels
    neck.update(out_channels=16)
    if 'hid_channels' in neck:
        neck.hid_channels = 24
    if 'queue_len' in model:
        model.update(queue_len=32, feat_dim=16)
    if 'loss' in model.head and 'feat_dim' in model.head.loss:
        model.head.loss.update(feat_dim=16, num_prototypes=20)


def reduced(name, images, work_dir):
    """A config with an eighth of the channels, small views, batches of four."""
    cfg = load_config(str(ROOT / name))
    shrink(cfg.model)
    for hook in cfg.get('custom_hooks', ()):
        if hook.type == 'SwAVHook':
            hook.update(batch_size=4, feat_dim=16, queue_length=8, epoch_queue_starts=0)
    for transform in dicts(cfg.train_dataloader.dataset):
        if transform.get('type', '').endswith('Crop'):
            transform['size'] = SIZES.get(transform['size'], transform['size'])
    dataset = cfg.train_dataloader.dataset
    if dataset.type == 'FolderInMemory':
        dataset.update(part='all')
    else:
        pipeline = dataset.pipeline
        if dataset.type == 'mmcls.FashionMNIST':  # from files instead of an array
            pipeline.insert(0, dict(type='LoadImageFromFile', color_type='grayscale'))
        dataset = dict(type='UnlabelledFolder', pipeline=pipeline)
    dataset.update(data_root=str(images))
    cfg.train_dataloader.update(batch_size=4, num_workers=0, dataset=dataset)
    cfg.default_hooks.pop('knn', None)  # has tests of its own
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=2, max_keep_ckpts=-1)
    cfg.randomness = dict(seed=0)
    cfg.experiment_name = f'{name}-{work_dir.name}'
    set_work_dir(cfg, str(work_dir))
    return prepare_config(cfg)


def train(cfg, iterations, resume=False):
    """Run some iterations of the first epoch."""
    cfg = copy.deepcopy(cfg)
    cfg.train_cfg.max_epochs = 1
    cfg.experiment_name += f'-{iterations}'
    cfg.visualizer.name = cfg.experiment_name
    cfg.resume = resume
    runner = Runner.from_cfg(cfg)
    runner.register_hook(StopAfter(iterations), priority='LOWEST')
    with pytest.raises(Enough):
        runner.train()
    return runner


class Enough(Exception):
    """The iterations wanted are done."""


class StopAfter(Hook):
    def __init__(self, iterations):
        self.iterations = iterations

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.iterations:
            raise Enough


@pytest.mark.parametrize('name', CONFIGS)
def test_config_trains_saves_resumes_and_exports(name, images, tmp_path):
    cfg = reduced(name, images, tmp_path)
    assert cfg.auto_scale_lr.base_batch_size > 0
    first = train(cfg, 2)
    before = copy.deepcopy(first.model.state_dict())
    runner = train(cfg, 4, resume=True)
    assert runner.iter == 3

    saved = torch.load(tmp_path / 'iter_2.pth', weights_only=True)
    for key, value in saved['state_dict'].items():
        assert torch.equal(value, before[key]), key
    last = torch.load(tmp_path / 'iter_4.pth', weights_only=True)['state_dict']
    assert any(not torch.equal(last[key], before[key]) for key in last)

    plain = MODELS.build(copy.deepcopy(cfg.model.backbone))
    prefix = 'backbone.'
    backbone = {k[len(prefix) :]: v for k, v in last.items() if k.startswith(prefix)}
    plain.load_state_dict(backbone, strict=True)
    plain.eval()
    runner.model.eval()
    x = torch.randn(2, cfg.model.backbone.get('in_channels', 3), 32, 32)
    torch.testing.assert_close(
        plain(x)[-1], runner.model.backbone(x)[-1], rtol=1e-3, atol=1e-4
    )
