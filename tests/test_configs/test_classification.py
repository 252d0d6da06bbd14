"""Linear evaluation: the head learns, the pretrained backbone keeps every bit."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmcls.models import ResNet
from mmselfsup.models import ResNet as SelfSupResNet
from PIL import Image

from mmaccel.engine.config import load_config, prepare_config, set_work_dir
from mmaccel.engine.config_reader import dicts
from mmaccel.engine.runner import build_runner
from mmaccel.engine.weights import set_pretrained
from mmaccel.errors import ConfigError

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / 'configs/benchmarks/classification'
LINEAR = ['moco', 'simclr', 'swav']
# schedule of each method: epochs, batch, optimizer, learning rate, weight decay
SCHEDULES = {
    'moco': (100, 256, 'SGD', 30.0, 0.0),
    'simclr': (90, 4096, 'mmselfsup.LARS', 1.6, 0.0),
    'swav': (100, 256, 'SGD', 0.3, 1e-6),
    'stages': (90, 256, 'SGD', 0.01, 1e-4),
}
NAMES = ['Feat1', 'Feat2', 'Feat3', 'Feat4', 'Final']


@pytest.fixture(scope='module')
def imagenet(tmp_path_factory):
    """ImageNet's layout: ten classes, sixteen images to train on and six to test."""
    folder = tmp_path_factory.mktemp('imagenet')
    rng = np.random.default_rng(0)
    (folder / 'meta').mkdir()
    for split, number in (('train', 16), ('val', 6)):
        lines = []
        for i in range(number):
            name = f'n{i % 10:02d}/{i}.jpg'
            path = folder / split / name
            path.parent.mkdir(parents=True, exist_ok=True)
            image = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
            Image.fromarray(image).save(path)
            lines.append(f'{name} {i % 10}')
        (folder / 'meta' / f'{split}.txt').write_text('\n'.join(lines))
    return folder


def checkpoint(path, backbone):
    """What a pretraining saves, with statistics unlike those of a new network."""
    state = {}
    for name, x in backbone.state_dict().items():
        if 'running' in name:
            x = x + torch.rand_like(x) / 10
        state[f'backbone.{name}'] = x
    state['neck.weight'] = torch.zeros(3)
    torch.save(dict(meta=dict(epoch=7), state_dict=state), path)
    return path


def small_network():
    return ResNet(18, base_channels=8, stem_channels=8)


def reduced(method, imagenet, work_dir, epochs=2):
    """Ten classes, batches of eight; an eighth of the channels where that is free."""
    cfg = load_config(str(FOLDER / f'{method}_r50_linear_in1k.py'))
    cfg.model.head.num_classes = 10
    if method != 'stages':  # whose head knows but the ResNet-50 at 224 px
        cfg.model.backbone.update(depth=18, base_channels=8, stem_channels=8)
        cfg.model.head.in_channels = 64
        for transform in dicts([cfg.train_dataloader, cfg.val_dataloader]):
            for name in ('scale', 'crop_size'):
                if transform.get(name) in (224, 256):
                    transform[name] //= 7
    for name, batch in (('train', 8), ('val', 3), ('test', 3)):
        loader = cfg[f'{name}_dataloader']
        loader.update(batch_size=batch, num_workers=0, persistent_workers=False)
        loader.dataset.data_root = str(imagenet)
    cfg.train_cfg.max_epochs = epochs
    cfg.randomness = dict(seed=0)
    cfg.experiment_name = f'{method}-{work_dir}'
    cfg.visualizer.name = cfg.experiment_name
    cfg.launcher = 'none'
    set_work_dir(cfg, str(work_dir))
    return prepare_config(cfg)


def run(cfg, path):
    """Train from a checkpoint; return its backbone, the trained one, and the head."""
    set_pretrained(cfg, str(path))
    runner = build_runner(cfg)
    given = torch.load(path, weights_only=True)['state_dict']
    head = {n: x.clone() for n, x in runner.model.head.state_dict().items()}
    runner.train()
    return runner, given, head


def changed(runner, given):
    backbone = runner.model.backbone.state_dict()
    return [
        n for n, x in backbone.items() if not torch.equal(x, given[f'backbone.{n}'])
    ]


@pytest.mark.parametrize('method', LINEAR)
def test_the_head_learns_and_the_backbone_keeps_every_bit(method, imagenet, tmp_path):
    path = checkpoint(tmp_path / 'pretrained.pth', small_network())
    runner, given, head = run(reduced(method, imagenet, tmp_path / 'run'), path)
    assert runner.iter == 4
    assert changed(runner, given) == []  # stem and BN statistics included
    learnt = runner.model.head.state_dict()
    assert not torch.equal(learnt['fc.weight'], head['fc.weight'])

    record = json.loads((tmp_path / 'run' / 'result.json').read_text())
    assert record['task'] == 'linear' and record['frozen'] is True
    assert record['protocol'].startswith('2 epochs, ')
    assert record['pretrain'] == str(path) and record['pretrain_epochs'] == 7
    assert record['n'] == 6 and set(record['metrics']) == {'top1', 'top5'}
    lines = (tmp_path / 'run' / 'vis_data' / 'scalars.json').read_text().splitlines()
    last = [json.loads(x) for x in lines if 'accuracy/top1' in x][-1]
    assert record['metrics']['top1'] == pytest.approx(last['accuracy/top1'])


def test_without_freezing_parameters_and_statistics_move(imagenet, tmp_path):
    path = checkpoint(tmp_path / 'pretrained.pth', small_network())
    cfg = reduced('swav', imagenet, tmp_path / 'run', epochs=1)
    cfg.model.backbone.frozen_stages = -1
    runner, given, _ = run(cfg, path)
    moved = changed(runner, given)
    assert {'conv1.weight', 'bn1.running_mean', 'layer4.1.bn2.running_var'} <= {*moved}


def test_every_stage_has_a_classifier_that_learns(imagenet, tmp_path):
    path = checkpoint(tmp_path / 'pretrained.pth', ResNet(50))
    cfg = reduced('stages', imagenet, tmp_path / 'run', epochs=1)
    cfg.train_dataloader.update(batch_size=2, dataset=dict(indices=4))
    runner, given, head = run(cfg, path)
    assert runner.iter == 2
    assert changed(runner, given) == []
    learnt = runner.model.head.state_dict()
    for i in range(5):
        assert not torch.equal(learnt[f'fcs.{i}.weight'], head[f'fcs.{i}.weight'])

    record = json.loads((tmp_path / 'run' / 'result.json').read_text())
    assert record['task'] == 'stages' and list(record['metrics']) == NAMES
    assert record['metrics'] == by_hand(runner, given)


def by_hand(runner, given):
    """Accuracy of each classifier, from its weights and upstream's backbone alone."""
    backbone = SelfSupResNet(50, out_indices=(0, 1, 2, 3, 4))
    backbone.eval()  # upstream's returns None
    prefix = 'backbone.'
    backbone.load_state_dict(
        {n[len(prefix) :]: x for n, x in given.items() if n.startswith(prefix)}
    )
    head, hits = runner.model.head.eval(), torch.zeros(5)
    images = runner.val_loop.dataloader.dataset
    for i in range(len(images)):
        sample = images[i]
        x = sample['inputs'][[2, 1, 0]].float()
        mean = torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1)
        std = torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1)
        with torch.no_grad():
            maps = backbone(((x - mean) / std)[None])
            for j, fc in enumerate(head.fcs):
                pooled = head.norms[j](head.multi_pooling.pools[j](maps[j]))
                label = fc(pooled.flatten(1)).argmax()
                hits[j] += label == sample['data_samples'].gt_label.label.item()
    return {
        n: pytest.approx(100 * h / len(images), abs=1e-4)
        for n, h in zip(NAMES, hits.tolist())
    }


@pytest.mark.parametrize('method', SCHEDULES)
def test_schedule_is_the_one_of_the_published_figure(method):
    cfg = load_config(str(FOLDER / f'{method}_r50_linear_in1k.py'))
    optimizer = cfg.optim_wrapper.optimizer
    epochs, batch, kind, lr, decay = SCHEDULES[method]
    assert cfg.train_cfg.max_epochs == epochs
    assert cfg.auto_scale_lr.base_batch_size == batch
    assert cfg.train_dataloader.batch_size * 8 == batch
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == (kind, lr, decay)
    assert cfg.model.backbone.frozen_stages == 4


def test_a_backbone_of_another_depth_is_refused(imagenet, tmp_path):
    path = checkpoint(tmp_path / 'pretrained.pth', ResNet(34, base_channels=8))
    cfg = reduced('moco', imagenet, tmp_path / 'run')
    set_pretrained(cfg, str(path))
    with pytest.raises(ConfigError, match='do not fit backbone'):
        build_runner(cfg)
