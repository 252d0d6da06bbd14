"""Draw a backbone's features in two dimensions, coloured by class."""

from __future__ import annotations

import argparse

from mmaccel.errors import ConfigError

from .command import at_least, load, shared

EXAMPLES = """\
  # the labelled images of the config's kNN monitor
  mmaccel features configs/small/accel-mocov2_r18_cifar10.py \\
      work_dirs/cifar10/epoch_200.pth --out features.png --method tsne

  # another labelled set: train/<class>/* and test/<class>/* (or val/<class>/*)
  mmaccel features configs/accel/mocov2_r50_8xb32.py epoch_200.pth \\
      --out features.pdf --data-root data/flowers
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    shared(parser, 'config', 'checkpoint')
    parser.add_argument(
        '--out', required=True, metavar='F', help='picture to write (png, pdf or svg)'
    )
    parser.add_argument(
        '--method',
        choices=['pca', 'tsne'],
        default='pca',
        help='pca keeps distances, tsne neighbourhoods (default: pca)',
    )
    parser.add_argument(
        '--data-root',
        metavar='FOLDER',
        help='folder with train/<class>/* and test/<class>/* or val/<class>/*, as '
        "`mmaccel probe` takes it; default: the labelled images of the config's "
        'KNNHook',
    )
    parser.add_argument(
        '--split',
        choices=['train', 'test'],
        default='test',
        help='which of its images; val/ counts as test (default: test)',
    )
    parser.add_argument(
        '--num',
        type=at_least(3),
        default=2000,
        help='images to use, spread evenly over the set (default: 2000)',
    )
    shared(parser, '--prefix', '--cfg-options')
    shared(parser, '--seed', help='of t-SNE (default: 0)')


def run(args: argparse.Namespace) -> None:
    """Extract, embed, draw."""
    from mmengine.device import get_device
    from mmengine.registry import MODELS, init_default_scope

    from mmaccel import host
    from mmaccel.engine.weights import load_backbone
    from mmaccel.evaluation.embedding_plot import embed, plot_embedding
    from mmaccel.evaluation.features import extract_features
    from mmaccel.evaluation.labelled_images import labelled_sets, load_set

    cfg = load(args)
    if 'backbone' not in (cfg.get('model') or {}):
        raise ConfigError(
            f'{cfg.filename} has no model with a backbone; give the config of the '
            'pretraining'
        )
    init_default_scope(host.default_scope(cfg))
    images = labelled_sets(cfg, args.data_root, [args.split])[args.split]
    model = MODELS.build(cfg.model)
    load_backbone(model.backbone, args.checkpoint, args.prefix)
    batches, classes = load_set(images, args.num)
    features, labels = extract_features(model.to(get_device()), batches)
    points, names = embed(features.cpu().numpy(), args.method, args.seed)
    name = dict(pca='PCA', tsne='t-SNE')[args.method]
    title = f'{name} of {features.shape[1]} features, {len(points)} images'
    plot_embedding(points, labels.cpu().numpy(), classes, names, title, args.out)
    print(f'Wrote {args.out}: {title}')
