"""Draw which windows an Accel model picks on real images."""

from __future__ import annotations

import argparse
from pathlib import Path

from .command import at_least, load, shared

EXAMPLES = """\
  # on scikit-learn's two sample photographs
  mmaccel windows configs/accel/mocov2_r50_8xb32.py \\
      work_dirs/mocov2_r50_8xb32/epoch_200.pth --out windows

  # on your own
  mmaccel windows CONFIG CKPT --out windows --images photos --num 16
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    shared(parser, 'config', help='config of an Accel model')
    shared(parser, 'checkpoint')
    parser.add_argument(
        '--out', required=True, metavar='DIR', help='folder for the pictures'
    )
    parser.add_argument(
        '--images',
        metavar='FOLDER',
        help="images, at any depth; default: scikit-learn's sample photographs",
    )
    parser.add_argument(
        '--num',
        type=at_least(2),
        default=8,
        help='images to take, the first in the order of their names; they are one '
        'batch, on which normalisation and negatives depend (default: 8)',
    )
    shared(parser, '--seed', help='of views and windows (default: 0)')
    shared(parser, '--cfg-options')


def run(args: argparse.Namespace) -> None:
    """Pick, draw and save."""
    from mmengine.registry import init_default_scope
    from mmengine.runner import set_random_seed

    from mmaccel import host
    from mmaccel.analysis.windows_plot import describe, draw_sheet, draw_windows
    from mmaccel.analysis.windows_run import (
        as_pictures,
        find_images,
        load_model,
        make_views,
        pick,
    )

    cfg = load(args)
    init_default_scope(host.default_scope(cfg))
    paths = find_images(args.images, args.num)
    set_random_seed(args.seed)
    model = load_model(cfg, args.checkpoint)
    batch = make_views(cfg, paths)
    picked = pick(model, batch, args.seed)
    images = as_pictures(batch, len(paths))
    out = Path(args.out)
    for number, (path, views, stages) in enumerate(zip(paths, images, picked)):
        name = out / f'{number:03d}_{Path(path).stem}.png'
        draw_windows(views, stages, name)
        losses = '; '.join(f'stage {s.stage}: {describe(s)}' for s in stages)
        print(f'{name}: {losses}')
    draw_sheet(images, picked, out / 'sheet.png')
    print(f'Wrote {len(paths)} pictures and sheet.png to {out}')
