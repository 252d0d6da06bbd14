"""Write a pretrained backbone for others: mmcls, torchvision or timm.

The written file is read back into the library's own network, strictly, and has to give
the features of the original before the command reports success.
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

  # the momentum encoder of MoCo instead of the trained one
  mmaccel export epoch_200.pth key.pth --format mmcls --prefix encoder_k.module.0.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    shared(parser, 'checkpoint', help='checkpoint of a pretraining')
    parser.add_argument('out', help='file to write, .pth or .safetensors')
    parser.add_argument(
        '--format',
        choices=['mmcls', 'torchvision', 'timm'],
        required=True,
        help='whose names the weights get; mmcls keeps the prefix "backbone."',
    )
    shared(parser, '--prefix')


def run(args: argparse.Namespace) -> None:
    """Export and say how the file is loaded."""
    from mmaccel.engine.export import TOLERANCE, export, usage

    arch = export(args.checkpoint, args.out, args.format, args.prefix)
    print(
        f'Wrote {args.out}: {arch.name}, features equal to {TOLERANCE:g}. Load it '
        f'with\n  {usage(arch, args.out, args.format)}'
    )
