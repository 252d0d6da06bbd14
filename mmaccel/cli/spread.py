"""Say whether a pretrained network tells images apart, after each stage.

Two views of a batch of the training images are projected, as in a training step. A mean
similarity of different images far above 0, or an effective rank of a few, is a
collapse: the loss may have fallen all the same.
"""

from __future__ import annotations

import argparse

from .command import load, save, shared

EXAMPLES = """\
  mmaccel spread configs/small/accel-mocov2_r18_cifar10.py \\
      work_dirs/cifar10/epoch_200.pth

  # as numbers, and of other images
  mmaccel spread CONFIG CKPT --json spread.json \\
      --cfg-options train_dataloader.dataset.data_root=photos
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    shared(parser, 'config', 'checkpoint')
    parser.add_argument(
        '--num',
        type=int,
        default=256,
        help='images of the batch, drawn from the training set, or all of a smaller '
        'one; compare ranks of equal numbers only (default: 256)',
    )
    shared(parser, '--seed', help='of images and views (default: 0)')
    shared(parser, '--json', '--cfg-options')


def run(args: argparse.Namespace) -> None:
    """Measure, print and save."""
    from mmaccel.analysis.spread import spread_of_checkpoint

    count, found = spread_of_checkpoint(
        load(args), args.checkpoint, args.num, args.seed
    )
    print(f'{count} images; mean cosine of views of the same, of others')
    print(f'{"stage":>5} {"same":>7} {"other":>7} {"std":>6} {"rank":>7}')
    for stage, spread in found.items():
        pos, neg, std, rank = spread
        print(f'{stage:>5} {pos:>+7.3f} {neg:>+7.3f} {std:>6.3f} {rank:>7.1f}')
    save(args.json, {stage: spread._asdict() for stage, spread in found.items()})
