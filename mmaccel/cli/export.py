"""Write a pretrained backbone for others: mmcls, torchvision, timm or ONNX.

The written file is read back into the library's own network, strictly, or by ONNX
Runtime, and has to give the features of the original before the command reports
success.
"""

from __future__ import annotations

import argparse

from .command import shared

EXAMPLES = """\
  # for torchvision: models.resnet50() with fc = nn.Identity() loads it strictly
  mmaccel export work_dirs/mocov2_r50_8xb32/epoch_200.pth resnet50.pth \\
      --format torchvision

  # for timm, as safetensors
  mmaccel export work_dirs/mocov2_r50_8xb32/epoch_200.pth resnet50.safetensors \\
      --format timm

  # a network that maps images to features, for ONNX Runtime and others
  mmaccel export work_dirs/mocov2_r50_8xb32/epoch_200.pth resnet50.onnx --format onnx

  # the momentum encoder of MoCo instead of the trained one
  mmaccel export epoch_200.pth key.pth --format mmcls --prefix encoder_k.module.0.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    shared(parser, 'checkpoint', help='checkpoint of a pretraining')
    parser.add_argument('out', help='file to write: .pth, .safetensors or .onnx')
    parser.add_argument(
        '--format',
        choices=['mmcls', 'torchvision', 'timm', 'onnx'],
        required=True,
        help='whose names the weights get (mmcls, which '
        'MMPretrain reads, too, keeps the prefix "backbone."), or '
        'onnx: the whole network',
    )
    shared(parser, '--prefix')


def run(args: argparse.Namespace) -> None:
    """Export and say how the file is loaded."""
    from mmaccel.engine import exported_features, onnx
    from mmaccel.engine.export import export, usage

    checked_by = onnx if args.format == 'onnx' else exported_features
    arch = export(args.checkpoint, args.out, args.format, args.prefix)
    print(
        f'Wrote {args.out}: {arch.name}, features equal to {checked_by.TOLERANCE:g}. '
        f'Load it with\n  {usage(arch, args.out, args.format)}'
    )
