"""Backbone weights load whole or are rejected, with the names that do not match."""

import copy
import re
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
import torchvision
from mmengine.config import Config
from mmengine.model import BaseModule
from mmselfsup.registry import MODELS
from torch import nn

from mmaccel.engine.weights import (
    backbone_weights,
    check_pretrained,
    check_whole,
    drop_pretrained,
    load_backbone,
    load_whole,
    mismatch,
    read_weights,
    set_pretrained,
)
from mmaccel.errors import ConfigError


def resnet(depth=18, **kwargs):
    kwargs = dict(stem_channels=8, base_channels=8, **kwargs)
    return MODELS.build(dict(type='mmcls.ResNet', depth=depth, **kwargs))


def save(path, module, prefix='backbone.', **others):
    """A checkpoint as a pretraining leaves it: the backbone among other weights."""
    weights = {prefix + name: x for name, x in module.state_dict().items()}
    torch.save(dict(state_dict=dict(weights, **others), meta={}), path)
    return str(path)


@pytest.fixture
def checkpoint(tmp_path):
    backbone = resnet()
    for x in backbone.state_dict().values():
        x.copy_(torch.rand(x.shape) if x.is_floating_point() else 7)
    path = save(tmp_path / 'pre.pth', backbone, queue=torch.zeros(3))
    return backbone, path


def test_mismatch_names_what_differs():
    own = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).state_dict()
    same = {f'module.{k}': v for k, v in own.items()}
    assert not any(mismatch(own, same).values())
    given = dict(own)
    del given['0.bias'], given['1.num_batches_tracked']
    given.update({'0.weight': torch.zeros(5, 3), 'head.weight': torch.zeros(1)})
    assert mismatch(own, given) == dict(
        missing=['0.bias'], unexpected=['head.weight'], shape=['0.weight']
    )


def test_backbone_is_loaded_whole(checkpoint):
    trained, path = checkpoint
    backbone = resnet()
    load_backbone(backbone, path)
    for name, x in trained.state_dict().items():
        assert torch.equal(backbone.state_dict()[name], x), name


def test_weights_of_a_plain_torchvision_network_load_with_an_empty_prefix(tmp_path):
    source = torchvision.models.resnet18()
    torch.save(source.state_dict(), tmp_path / 'tv.pth')
    backbone = MODELS.build(dict(type='mmcls.ResNet', depth=18))
    load_backbone(backbone, tmp_path / 'tv.pth', prefix='')
    assert torch.equal(backbone.layer3[1].conv2.weight, source.layer3[1].conv2.weight)


@pytest.mark.parametrize('there, here', [(34, 18), (18, 34), (50, 18), (18, 50)])
def test_another_depth_is_refused_in_both_directions(tmp_path, there, here):
    path = save(tmp_path / 'x.pth', resnet(there))
    backbone = resnet(here)
    before = {name: x.clone() for name, x in backbone.state_dict().items()}
    with pytest.raises(ConfigError, match=r'layer.*same kind and depth'):
        load_backbone(backbone, path)
    for name, x in backbone.state_dict().items():
        assert torch.equal(x, before[name]), name


def test_another_shape_and_prefix_are_rejected_by_name(tmp_path):
    path = save(tmp_path / 'x.pth', resnet(in_channels=1))
    with pytest.raises(ConfigError, match=r'shape: conv1.weight'):
        load_backbone(resnet(), path)
    keys = {f'module.encoder_k.{n}': x for n, x in resnet().state_dict().items()}
    path = save(tmp_path / 'x.pth', resnet(), prefix='module.encoder_q.', **keys)
    with pytest.raises(ConfigError, match=r"--prefix 'module.encoder_q.'"):
        load_backbone(resnet(), path)
    load_backbone(resnet(), path, prefix='module.encoder_q.')


def layouts():
    """Rows of the table of docs/transfer.md: project, names and prefixes."""
    text = Path('docs/transfer.md').read_text()
    rows = re.findall(r'^\| (.+?) \| `(\S+)` \| (.+?) \| (.+?) \|$', text, re.MULTILINE)
    return [
        pytest.param(names, re.findall('`(.+?)`', beside), found, id=project)
        for project, names, beside, found in rows
    ]


@pytest.mark.parametrize(('names', 'beside', 'found'), layouts())
def test_layouts_of_other_projects(names, beside, found, tmp_path):
    source, target = resnet(), resnet()
    *keys, prefix = names.split(':')
    prefix, stage, _ = re.split(r'(layer1|[34])(?=\.0\.)', prefix)
    weights = {}
    for name, x in source.state_dict().items():
        if stage != 'layer1':
            for number in range(1, 5):
                name = name.replace(f'layer{number}.', f'{int(stage) + number - 1}.')
            name = name.replace('bn1.', '1.', name.startswith('bn1.'))
            name = name.replace('conv1.', '0.', name.startswith('conv1.'))
        weights[prefix + name] = x
    weights |= {name: torch.zeros(3) for name in beside}
    for key in reversed(keys):
        weights = {key: weights}
    torch.save(weights, tmp_path / 'x.pth')
    load_backbone(target, tmp_path / 'x.pth')
    for name, x in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], x), name


def test_five_percent_may_be_missing_and_no_more(tmp_path):
    backbone = resnet()
    names = [n for n in backbone.state_dict() if not n.endswith('num_batches_tracked')]
    for share, fits in ((0.04, True), (0.06, False)):
        state = {f'backbone.{n}': x for n, x in backbone.state_dict().items()}
        for name in names[-round(share * len(names)) :]:
            del state[f'backbone.{name}']
        torch.save(state, tmp_path / 'x.pth')
        with nullcontext() if fits else pytest.raises(ConfigError, match='missing'):
            load_backbone(resnet(), tmp_path / 'x.pth')


def test_damaged_files_are_refused(checkpoint, tmp_path):
    _, path = checkpoint
    content = bytearray(Path(path).read_bytes())
    cut, flipped, empty = (tmp_path / name for name in ('cut', 'flipped', 'empty'))
    cut.write_bytes(content[: len(content) // 2])
    content[len(content) // 2] ^= 255
    flipped.write_bytes(content)
    empty.write_bytes(b'')
    for damaged in (cut, flipped, empty):
        with pytest.raises(ConfigError, match='damaged or cut off|is empty'):
            read_weights(damaged)
    with pytest.raises(ConfigError, match='there is no checkpoint'):
        read_weights(tmp_path / 'none')
    torch.save(dict(state_dict={}), tmp_path / 'hollow')
    with pytest.raises(ConfigError, match='contains no weights'):
        read_weights(tmp_path / 'hollow')


def test_code_in_a_file_is_refused(tmp_path):
    torch.save(dict(state_dict={}, hook=print), tmp_path / 'code.pth')
    with pytest.raises(ConfigError, match='read safely'):
        read_weights(tmp_path / 'code.pth')


class Detector(BaseModule):
    """A backbone in two parts, as Faster R-CNN C4 has it, and a head of its own."""

    def __init__(self, path, parts=('layer4',)):
        super().__init__()
        init_cfg = dict(type='Pretrained', checkpoint=path, prefix='backbone.')
        self.backbone = resnet(
            num_stages=3,
            strides=(1, 2, 2),
            dilations=(1, 1, 1),
            out_indices=(2,),
            init_cfg=init_cfg,
        )
        self.shared_head = BaseModule(init_cfg)
        for part in parts:
            self.shared_head.add_module(part, getattr(resnet(), part))
        self.shared_head.norm = nn.BatchNorm2d(64)


def test_two_parts_of_one_network_are_checked_together(checkpoint, caplog):
    trained, path = checkpoint
    model = Detector(path)
    check_pretrained(model)
    model.init_weights()
    assert torch.equal(model.backbone.conv1.weight, trained.conv1.weight)
    assert torch.equal(
        model.shared_head.layer4[0].conv1.weight, trained.layer4[0].conv1.weight
    )
    with pytest.raises(ConfigError, match=r'not in the model: layer4'):
        check_pretrained(Detector(path, parts=()))


def test_weights_not_named_yet_are_refused():
    with pytest.raises(ConfigError, match=r'--pretrained .*model.backbone.init_cfg'):
        check_pretrained(Detector(None))


def config(**backbone):
    waiting = dict(type='Pretrained', checkpoint=None, prefix='backbone.')
    return Config(
        dict(
            model=dict(
                backbone=dict(type='mmcls.ResNet', depth=18, **backbone),
                roi_head=dict(shared_head=dict(type='X', init_cfg=waiting)),
            )
        )
    )


def test_checkpoint_is_named_wherever_one_is_waited_for(checkpoint):
    _, path = checkpoint
    cfg = config(init_cfg=dict(type='Pretrained', checkpoint=None))
    set_pretrained(cfg, path, prefix='')
    expected = dict(type='Pretrained', checkpoint=path, prefix=None)
    assert cfg.model.backbone.init_cfg == expected
    assert cfg.model.roi_head.shared_head.init_cfg == expected
    with pytest.raises(ConfigError, match='there is no checkpoint'):
        set_pretrained(cfg, path + 'x')


def test_backbone_gets_the_checkpoint_where_nothing_waits(checkpoint):
    _, path = checkpoint
    cfg = config(pretrained='torchvision://resnet18')
    cfg.model.pop('roi_head')
    set_pretrained(cfg, path)
    assert cfg.model.backbone.init_cfg.checkpoint == path
    assert 'pretrained' not in cfg.model.backbone


def test_nothing_waits_once_a_run_continues():
    cfg = config(init_cfg=dict(type='Pretrained', checkpoint='kept.pth'))
    drop_pretrained(cfg)
    assert cfg.model.roi_head.shared_head.init_cfg is None
    assert cfg.model.backbone.init_cfg.checkpoint == 'kept.pth'


def test_evaluation_needs_every_weight(checkpoint, tmp_path):
    backbone, path = checkpoint
    model = nn.ModuleDict(dict(backbone=backbone))
    check_whole(model, path)
    model['head'] = nn.Linear(2, 2)
    with pytest.raises(ConfigError, match=r'missing in it: head.weight, head.bias'):
        check_whole(model, path)


def test_own_checkpoint_is_loaded_whole_or_refused(checkpoint, tmp_path):
    backbone, path = checkpoint
    model = nn.ModuleDict(dict(backbone=copy.deepcopy(backbone)))
    model.register_buffer('queue', torch.ones(3))
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    load_whole(model, path)
    assert not model.queue.any()
    for name, weight in backbone.state_dict().items():
        assert torch.equal(model['backbone'].state_dict()[name], weight)
    del model['backbone'].layer4
    with pytest.raises(ConfigError, match='not in the model: backbone.layer4'):
        load_whole(model, path)
    check_whole(model, path)  # an evaluation leaves weights out


def test_prefix_without_a_backbone_is_refused(checkpoint, tmp_path):
    torch.save(dict(state_dict=nn.Linear(2, 2).state_dict()), tmp_path / 'x.pth')
    with pytest.raises(ConfigError, match='give the checkpoint of a ResNet'):
        backbone_weights(tmp_path / 'x.pth')


def test_networks_without_layers_are_checked_by_name_too(tmp_path):
    class Encoder(BaseModule):
        def __init__(self, width, path):
            super().__init__(dict(type='Pretrained', checkpoint=path, prefix='net'))
            self.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(3))

    source = Encoder(4, None)
    path = save(tmp_path / 'x.pth', source, prefix='net.')
    model = Encoder(4, path)
    check_pretrained(model)
    model.init_weights()
    assert torch.equal(model.blocks[2].weight, source.blocks[2].weight)
    with pytest.raises(ConfigError, match='of another shape: blocks.0.weight'):
        check_pretrained(Encoder(5, path))


def test_weights_that_fit_are_told_in_one_line(checkpoint, monkeypatch):
    _, path = checkpoint
    lines = []
    for module in ('mmaccel.engine.weights', 'mmengine.runner.checkpoint'):
        monkeypatch.setattr(f'{module}.print_log', lambda text, **_: lines.append(text))
    model = Detector(path)
    check_pretrained(model)
    model.init_weights()
    (line,) = lines
    assert '100 of 104 names matched' in line and 'backbone and shared_head' in line
