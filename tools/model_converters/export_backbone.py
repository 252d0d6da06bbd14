"""Write a pretrained backbone for others: mmcls, torchvision or timm.

The written file is read back into the library's own network, strictly, and has to give
the features of the original before the command reports success.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from pathlib import Path

try:
    import mmaccel  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != 'mmaccel':
        raise
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a plain checkout

import torch
from mmaccel.engine.cli import Command
from torch import Tensor, nn

from mmaccel.engine.weights import (
    COUNTER,
    PREFIX,
    backbone_weights,
    mismatch,
    summary,
)
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

EXAMPLES = """
examples:
  # for torchvision: models.resnet50() with fc = nn.Identity() loads it strictly
  python tools/model_converters/export_backbone.py \\
      work_dirs/mocov2_r50_8xb32/epoch_200.pth resnet50.pth --format torchvision

  # for timm, as safetensors
  python tools/model_converters/export_backbone.py \\
      work_dirs/mocov2_r50_8xb32/epoch_200.pth resnet50.safetensors --format timm

  # the momentum encoder of MoCo instead of the trained one
  python tools/model_converters/export_backbone.py epoch_200.pth key.pth \\
      --format mmcls --prefix encoder_k.module.0.
"""
TOLERANCE = 1e-5
NETWORKS = dict(mmcls=mmcls_network, torchvision=torchvision_network, timm=timm_network)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('checkpoint', help='checkpoint of a pretraining')
    parser.add_argument('out', help='file to write, .pth or .safetensors')
    parser.add_argument(
        '--format',
        choices=list(NETWORKS),
        required=True,
        help='whose names the weights get; mmcls keeps the prefix "backbone."',
    )
    parser.add_argument(
        '--prefix',
        default=PREFIX,
        help='what the names of the backbone start with (default: %(default)s)',
    )
    parser.add_argument(
        '--debug', action='store_true', help='show the traceback of every error'
    )
    return parser.parse_args(argv)


def export(checkpoint: str, out: str, kind: str, prefix: str = PREFIX) -> Architecture:
    """Write the file and check it; return what network it is.

    Raises:
        ConfigError: If the checkpoint does not fit or the library has no such network.
    """
    if Path(out).suffix not in ('.pth', '.pt', '.safetensors'):
        raise ConfigError(f'{out} is neither .pth nor .safetensors; name it so')
    given = backbone_weights(checkpoint, prefix)
    given = {n: x.contiguous() for n, x in given.items() if not n.startswith('fc.')}
    arch = read_architecture(given)
    source = mmcls_network(arch)
    for name, x in source.state_dict().items():
        if name.endswith(COUNTER):  # old checkpoints lack it, strict loading wants it
            given.setdefault(name, torch.zeros_like(x))
    _load(source, given, checkpoint)
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
    size = 32 if arch.small_stem else 64
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, arch.in_channels, size, size, generator=generator)
    for network in (source, target):
        network.eval()
    expected, features = _pooled(source(images)), _pooled(target(images))
    if not torch.allclose(features, expected, rtol=TOLERANCE, atol=TOLERANCE):
        worst = (features - expected).abs().max().item()
        raise ConfigError(
            f'the exported network gives other features (by up to {worst:.1e}), so '
            'nothing is written; is the backbone of a style other than pytorch?'
        )


def _pooled(output: Tensor | tuple[Tensor, ...]) -> Tensor:
    last = output[-1] if isinstance(output, (tuple, list)) else output
    return last.flatten(2).mean(2) if last.ndim == 4 else last


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
    if kind == 'mmcls':
        return f'python tools/train.py CONFIG --pretrained {out}'
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


def main(argv: list[str] | None = None) -> int:
    """Export; return the exit code."""
    args = parse_args(argv)

    def body(command: Command) -> None:
        arch = export(args.checkpoint, args.out, args.format, args.prefix)
        print(
            f'Wrote {args.out}: {arch.name}, features equal to {TOLERANCE:g}. Load it '
            f'with\n  {usage(arch, args.out, args.format)}'
        )

    return Command(args.debug).run(body)


if __name__ == '__main__':
    sys.exit(main())
