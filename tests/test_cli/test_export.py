"""Exported backbones load strictly elsewhere and give the same features."""

import pytest
import torch
import torchvision
from mmselfsup.registry import MODELS
from torch import nn

from mmaccel.cli import main
from mmaccel.engine.export import NETWORKS
from mmaccel.engine.weights import load_backbone


def pretrained(path, **cfg):
    """A checkpoint of a backbone whose every weight and statistic is its own."""
    backbone = MODELS.build(dict(dict(type='mmselfsup.ResNet', out_indices=[4]), **cfg))
    for name, x in backbone.state_dict().items():
        if name.endswith('running_var'):
            x.uniform_(0.5, 2)
        elif x.is_floating_point() and x.ndim == 1:
            x.uniform_(0.2, 0.6)
        elif not x.is_floating_point():
            x.fill_(11)
    weights = {f'backbone.{name}': x for name, x in backbone.state_dict().items()}
    torch.save(dict(state_dict=dict(weights, queue=torch.zeros(2)), meta={}), path)
    backbone.eval()
    return backbone, str(path)


def features(backbone, images):
    with torch.no_grad():
        output = backbone(images)
    last = output[-1] if isinstance(output, (tuple, list)) else output
    return last.mean((2, 3)) if last.ndim == 4 else last


def test_torchvision_resnet50_gives_equal_features_and_loads_strictly(tmp_path):
    backbone, path = pretrained(tmp_path / 'pre.pth', depth=50)
    out = str(tmp_path / 'out.pth')
    assert main(['export', path, out, '--format', 'torchvision']) == 0
    model = torchvision.models.resnet50()
    model.fc = nn.Identity()
    model.load_state_dict(torch.load(out, weights_only=True), strict=True)
    images = torch.randn(2, 3, 96, 96)
    torch.testing.assert_close(
        features(model.eval(), images), features(backbone, images), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize(
    'cfg, name',
    [
        (dict(depth=50), 'resnet50'),
        (dict(type='mmselfsup.ResNetV1d', depth=50), 'resnet50d'),
        (dict(type='mmselfsup.ResNeXt', depth=50), 'resnext50_32x4d'),
        (dict(depth=18, in_channels=1), 'resnet18'),
    ],
)
def test_timm_gives_equal_features(tmp_path, cfg, name):
    timm = pytest.importorskip('timm')
    safetensors = pytest.importorskip('safetensors.torch')
    backbone, path = pretrained(tmp_path / 'pre.pth', **cfg)
    out = str(tmp_path / 'out.safetensors')
    assert main(['export', path, out, '--format', 'timm']) == 0
    channels = cfg.get('in_channels', 3)
    model = timm.create_model(name, num_classes=0, in_chans=channels).eval()
    model.load_state_dict(safetensors.load_file(out), strict=True)
    images = torch.randn(2, channels, 64, 64)
    torch.testing.assert_close(
        features(model, images), features(backbone, images), rtol=0, atol=1e-5
    )


def test_stem_for_small_images(tmp_path, capsys):
    cfg = dict(type='mmcls.ResNet_CIFAR', depth=18, out_indices=(3,))
    backbone, path = pretrained(tmp_path / 'pre.pth', **cfg)
    out = str(tmp_path / 'out.pth')
    assert main(['export', path, out, '--format', 'torchvision']) == 0
    model = torchvision.models.resnet18()
    # as the command says
    assert 'model.conv1 = nn.Conv2d(3, 64, 3, padding=1' in capsys.readouterr().out
    model.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    model.maxpool, model.fc = nn.Identity(), nn.Identity()
    model.load_state_dict(torch.load(out, weights_only=True))
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(
        features(model.eval(), images), features(backbone, images), rtol=0, atol=1e-5
    )


def test_mmcls_export_is_what_train_takes_as_pretrained(tmp_path):
    cfg = dict(depth=18, base_channels=8, stem_channels=8)
    backbone, path = pretrained(tmp_path / 'pre.pth', **cfg)
    out = str(tmp_path / 'out.pth')
    assert main(['export', path, out, '--format', 'mmcls']) == 0
    target = MODELS.build(dict(cfg, type='mmcls.ResNet'))
    load_backbone(target, out)
    for name, x in backbone.state_dict().items():
        assert torch.equal(target.state_dict()[name], x), name


@pytest.mark.parametrize('kind', ['mmcls', 'torchvision'])
def test_what_does_not_fit_is_refused_and_nothing_written(tmp_path, capsys, kind):
    def refusal(path, *argv):
        out = tmp_path / 'out.pth'
        assert main(['export', str(path), str(out), '--format', kind, *argv]) == 1
        assert not list(tmp_path.glob('out*'))
        return capsys.readouterr().err

    backbone, path = pretrained(tmp_path / 'pre.pth', depth=18)
    assert "--prefix 'backbone.'" in refusal(path, '--prefix', 'encoder.')
    content = (tmp_path / 'pre.pth').read_bytes()
    (tmp_path / 'cut.pth').write_bytes(content[: len(content) // 2])
    assert 'damaged or cut off' in refusal(tmp_path / 'cut.pth')
    weights = {f'backbone.{n}': x for n, x in backbone.state_dict().items()}
    del weights['backbone.layer3.1.bn2.weight']
    torch.save(weights, tmp_path / 'part.pth')
    assert 'layer3.1.bn2.weight' in refusal(tmp_path / 'part.pth')
    for name in [n for n in weights if 'layer4' in n]:
        del weights[name]
    torch.save(weights, tmp_path / 'stages.pth')
    assert 'all four stages' in refusal(tmp_path / 'stages.pth')


def test_network_that_torchvision_lacks(tmp_path, capsys):
    _, path = pretrained(tmp_path / 'a.pth', depth=18, base_channels=8, stem_channels=8)
    argv = [path, str(tmp_path / 'x.pth'), '--format', 'torchvision']
    assert main(['export', *argv]) == 1
    assert 'with 8 instead of 64 channels' in capsys.readouterr().err
    _, argv[0] = pretrained(tmp_path / 'b.pth', type='mmselfsup.ResNetV1d', depth=50)
    assert main(['export', *argv]) == 1
    assert 'torchvision has no resnet50d' in capsys.readouterr().err


def test_wrong_features_are_not_written(tmp_path, capsys, monkeypatch):
    # strides leave no trace in the weights: this one would export as another network
    _, path = pretrained(tmp_path / 'a.pth', depth=18)
    original = NETWORKS['torchvision']

    def other_strides(arch):
        network = original(arch)
        network.layer2[0].conv1.stride = network.layer2[0].downsample[0].stride = (1, 1)
        return network

    monkeypatch.setitem(NETWORKS, 'torchvision', other_strides)
    argv = [path, str(tmp_path / 'x.pth'), '--format', 'torchvision']
    assert main(['export', *argv]) == 1
    assert 'gives other features' in capsys.readouterr().err
    assert not (tmp_path / 'x.pth').exists()


def test_views_of_a_flat_buffer_are_written_compactly(tmp_path):
    backbone, path = pretrained(tmp_path / 'pre.pth', depth=18)
    weights = torch.load(path, weights_only=True)['state_dict']
    flat = torch.cat([x.flatten().float() for x in weights.values()] * 2)
    parts = iter(flat.split([x.numel() for x in weights.values()] * 2))
    weights = {
        name: next(parts).view(x.shape).to(x.dtype) for name, x in weights.items()
    }
    torch.save(dict(state_dict=weights), path)
    out = tmp_path / 'out.pth'
    assert main(['export', path, str(out), '--format', 'torchvision']) == 0
    size = sum(x.numel() * x.element_size() for x in backbone.state_dict().values())
    assert out.stat().st_size < 1.05 * size


def test_the_input_is_never_replaced(tmp_path, capsys):
    _, path = pretrained(tmp_path / 'pre.pth', depth=18)
    before = (tmp_path / 'pre.pth').read_bytes()
    assert main(['export', path, path, '--format', 'mmcls']) == 1
    assert 'name another file' in capsys.readouterr().err
    assert (tmp_path / 'pre.pth').read_bytes() == before


def test_heads_under_the_prefix_are_left_out(tmp_path):
    _, path = pretrained(tmp_path / 'pre.pth', depth=18)
    weights = torch.load(path, weights_only=True)['state_dict']
    weights = {f'module.{n.removeprefix("backbone.")}': x for n, x in weights.items()}
    weights |= {
        'module.projection_head.0.weight': torch.zeros(3),
        'module.prototypes.weight': torch.zeros(3),
    }
    torch.save(weights, path)
    out = str(tmp_path / 'out.pth')
    assert main(['export', path, out, '--format', 'torchvision']) == 0
    model = torchvision.models.resnet18()
    model.fc = nn.Identity()
    model.load_state_dict(torch.load(out, weights_only=True), strict=True)


@pytest.mark.parametrize(
    'cfg', [dict(depth=18), dict(type='mmselfsup.ResNetV1d', depth=50)]
)
def test_onnx_gives_equal_features_for_any_number_and_size(tmp_path, cfg, capsys):
    for package in ('onnx', 'onnxscript', 'onnxruntime'):
        pytest.importorskip(package)
    import onnxruntime

    backbone, path = pretrained(tmp_path / 'pre.pth', **cfg)
    out = tmp_path / 'out.onnx'
    assert main(['export', path, str(out), '--format', 'onnx']) == 0
    assert 'InferenceSession' in capsys.readouterr().out
    assert sorted(x.name for x in tmp_path.iterdir()) == ['out.onnx', 'pre.pth']
    session = onnxruntime.InferenceSession(out)
    for shape in ((1, 3, 96, 96), (5, 3, 64, 128)):
        images = torch.randn(shape)
        (found,) = session.run(None, {'images': images.numpy()})
        torch.testing.assert_close(
            torch.from_numpy(found), features(backbone, images), rtol=1e-4, atol=1e-4
        )


def test_onnx_without_its_packages_names_them(tmp_path, capsys, monkeypatch):
    _, path = pretrained(tmp_path / 'pre.pth', depth=18)
    monkeypatch.setattr('mmaccel.engine.onnx.importlib.util.find_spec', lambda _: None)
    out = tmp_path / 'out.onnx'
    assert main(['export', path, str(out), '--format', 'onnx']) == 1
    assert 'mmaccel[onnx]' in capsys.readouterr().err
    assert main(['export', path, str(tmp_path / 'x.pth'), '--format', 'onnx']) == 1
    assert '.onnx' in capsys.readouterr().err
    assert sorted(x.name for x in tmp_path.iterdir()) == ['pre.pth']
