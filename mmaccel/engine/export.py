"""Writing a pretrained backbone for other libraries, and checking what was written."""

import io
import os
from pathlib import Path

import torch
from torch import Tensor, nn

from mmaccel.errors import ConfigError
from mmaccel.fileio import write_atomically
from mmaccel.models.utils.architecture import (
    Architecture,
    mmcls_network,
    plain_name,
    read_architecture,
    timm_network,
    torchvision_network,
)
from mmaccel.models.utils.backbones import pooled_map

from . import onnx
from .exported_features import check_features, sample_images
from .weights import COUNTER, PREFIX, backbone_weights, mismatch, of_backbone, summary

#: The format that is no library's names for weights, but a whole network.
ONNX = 'onnx'
NETWORKS = dict(mmcls=mmcls_network, torchvision=torchvision_network, timm=timm_network)


def export(checkpoint: str, out: str, kind: str, prefix: str = PREFIX) -> Architecture:
    """Write the file and check it; return what network it is.

    Raises:
        ConfigError: If the checkpoint does not fit or the library has no such network.
    """
    suffixes = ('.onnx',) if kind == ONNX else ('.pth', '.pt', '.safetensors')
    if Path(out).suffix not in suffixes:
        raise ConfigError(
            f'{out} does not end with {" or ".join(suffixes)}, as --format {kind} needs'
        )
    given = backbone_weights(checkpoint, prefix)
    if os.path.exists(out) and os.path.samefile(checkpoint, out):
        raise ConfigError(f'{out} is the checkpoint itself; name another file')
    arch = read_architecture(given)
    source = mmcls_network(arch)
    given = of_backbone(given, source.state_dict())
    # a copy each: a view would be saved with all that it is a view of
    given = {
        n: x.clone(memory_format=torch.contiguous_format) for n, x in given.items()
    }
    for name, x in source.state_dict().items():
        if name.endswith(COUNTER):  # old checkpoints lack it, strict loading wants it
            given.setdefault(name, torch.zeros_like(x))
    _load(source, given, checkpoint)
    if kind == ONNX:
        source.eval()  # which returns None in MMClassification
        onnx.export(source, arch, out)
        return arch
    target = NETWORKS[kind](arch)
    if kind == 'mmcls':
        written = {PREFIX + name: x for name, x in given.items()}
    else:
        written = {plain_name(name, arch): x for name, x in given.items()}

    partial = Path(f'{out}.checking{Path(out).suffix}')
    try:
        write_atomically(partial, _encode(written, partial, arch, checkpoint))
        read = _decode(partial)
        if kind == 'mmcls':
            read = {name[len(PREFIX) :]: x for name, x in read.items()}
        _load(target, read, out)
        _compare(source, target, arch)
        os.replace(partial, out)
    finally:
        partial.unlink(missing_ok=True)
    return arch


def _load(network: nn.Module, weights: dict[str, Tensor], path: str) -> None:
    found = mismatch(network.state_dict(), weights)
    if any(found.values()):
        raise ConfigError(
            f'the weights of {path} are not those of one whole {type(network).__name__}'
            f' ({summary(found)}); export the checkpoint of a ResNet'
        )
    network.load_state_dict(weights, strict=True)


@torch.no_grad()
def _compare(source: nn.Module, target: nn.Module, arch: Architecture) -> None:
    """Refuse a network that gives other features for the same images."""
    images = sample_images(arch)
    for network in (source, target):
        network.eval()
    check_features(pooled_map(target(images)), pooled_map(source(images)))


def _encode(
    weights: dict[str, Tensor], path: Path, arch: Architecture, source: str
) -> bytes:
    if path.suffix == '.safetensors':
        try:
            from safetensors.torch import save
        except ImportError as error:
            raise ConfigError(
                'safetensors is not installed; `pip install safetensors`, or name the '
                'file .pth'
            ) from error
        about = dict(format='pt', architecture=arch.name, source=Path(source).name)
        return save(weights, metadata=about)
    wrapped = any(name.startswith(PREFIX) for name in weights)
    buffer = io.BytesIO()
    torch.save(dict(state_dict=weights) if wrapped else weights, buffer)
    return buffer.getvalue()


def _decode(path: Path) -> dict[str, Tensor]:
    if path.suffix == '.safetensors':
        from safetensors.torch import load_file

        return load_file(path)
    content = torch.load(path, map_location='cpu', weights_only=True)
    return content.get('state_dict', content)


def usage(arch: Architecture, out: str, kind: str) -> str:
    """Say how the file is loaded."""
    if kind == ONNX:
        run = f'onnxruntime.InferenceSession({out!r}).run'
        return f"features = {run}(None, {{'images': images}})[0]"
    if kind == 'mmcls':
        return f'mmaccel train CONFIG --pretrained {out}'
    load = f'torch.load({out!r})'
    if out.endswith('.safetensors'):
        load = f'safetensors.torch.load_file({out!r})'
    lines = [f'model = torchvision.models.{arch.name}(); model.fc = nn.Identity()']
    if kind == 'timm':
        channels = f', in_chans={arch.in_channels}' if arch.in_channels != 3 else ''
        lines = [f'model = timm.create_model({arch.name!r}, num_classes=0{channels})']
    size = '3, padding=1' if arch.small_stem else '7, stride=2, padding=3'
    if arch.small_stem or (kind == 'torchvision' and arch.in_channels != 3):
        conv = f'nn.Conv2d({arch.in_channels}, 64, {size}, bias=False)'
        lines.append(f'model.conv1 = {conv}')
    if arch.small_stem:
        lines.append('model.maxpool = nn.Identity()')
    return '\n  '.join([*lines, f'model.load_state_dict({load})'])
