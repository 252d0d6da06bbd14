"""Evaluate a checkpoint's frozen features: kNN, a linear probe, one of each stage.

One pass over the labelled images computes the features after the stem and after every
stage and keeps them on disk; everything else works on those. A CPU will do.
"""

from __future__ import annotations

import argparse
import os

from .command import at_least, load, shared

EXAMPLES = """\
  # the labelled images of the config's kNN monitor; results beside the checkpoint
  mmaccel probe configs/small/accel-mocov2_r18_cifar10.py \\
      work_dirs/cifar10/epoch_200.pth

  # another labelled set: train/<class>/* and test/<class>/* (or val/<class>/*)
  mmaccel probe configs/accel/mocov2_r50_8xb32.py epoch_200.pth \\
      --data-root data/flowers

  # nearest neighbours alone, with 20 and with 200 of them
  mmaccel probe CONFIG CKPT --metrics knn --k 20 200

  # what the same network is worth without any training
  mmaccel probe CONFIG --untrained
"""
_METRICS = ['knn', 'linear', 'stages']


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    shared(parser, 'config', help='the config that the checkpoint was trained by')
    which = parser.add_mutually_exclusive_group(required=True)
    shared(which, 'checkpoint', nargs='?', help='pretraining checkpoint')
    which.add_argument(
        '--untrained',
        action='store_true',
        help='evaluate random weights instead of a checkpoint: the least that every '
        'figure can be',
    )
    parser.add_argument(
        '--data-root',
        metavar='FOLDER',
        help='folder with train/<class>/* and test/<class>/* or val/<class>/*; by '
        "default the labelled images of the config's KNNHook",
    )
    parser.add_argument(
        '--metrics',
        nargs='+',
        choices=_METRICS,
        default=_METRICS,
        help='what to compute; default: all',
    )
    parser.add_argument(
        '--k',
        nargs='+',
        type=at_least(1),
        default=[200, 20],
        help='neighbours that vote; the first is top1 in the record; default: 200 20',
    )
    shared(
        parser,
        '--work-dir',
        help='folder for results and features; default: probe/ beside the checkpoint',
    )
    parser.add_argument(
        '--amp',
        choices=['fp16', 'bf16'],
        help='compute features in mixed precision: faster, rounded in the third digit',
    )
    shared(parser, '--device', help='such as cpu or cuda:0; default: what is there')
    shared(
        parser,
        '--seed',
        help='of the held-out images, and of random weights; default: 0',
    )
    shared(parser, '--batch-size', type=at_least(1), default=256)
    parser.add_argument(
        '--num-workers',
        type=at_least(0),
        default=min(8, os.cpu_count() or 1),
        metavar='N',
        help='processes that load images; default: one per core, up to 8',
    )
    shared(parser, '--prefix', '--cfg-options')


def run(args: argparse.Namespace) -> None:
    """Evaluate and print."""
    from mmaccel.evaluation.probing import probe

    probe(load(args), args)
