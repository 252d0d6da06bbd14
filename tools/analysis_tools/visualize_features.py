"""Draw a backbone's features in two dimensions, coloured by class."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

try:
    import mmaccel  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != 'mmaccel':
        raise
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a plain checkout

from mmaccel.engine.cli import Command
from mmengine.config import DictAction
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from mmselfsup.registry import MODELS

from mmaccel.engine.config import load_config
from mmaccel.engine.weights import PREFIX, load_backbone
from mmaccel.errors import ConfigError
from mmaccel.evaluation.embedding_plot import embed, plot_embedding
from mmaccel.evaluation.features import extract_features
from mmaccel.evaluation.labelled_images import folder_set, labelled_sets, load_set

EXAMPLES = """
examples:
  # the labelled images of the config's kNN monitor
  python tools/analysis_tools/visualize_features.py \\
      configs/small/accel-mocov2_r18_cifar10.py work_dirs/cifar10/epoch_200.pth \\
      --out features.png --method tsne

  # a folder with one sub-folder a class
  python tools/analysis_tools/visualize_features.py \\
      configs/accel/mocov2_r50_8xb32.py epoch_200.pth --out features.pdf \\
      --data-root data/flowers/test
"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='pretraining config')
    parser.add_argument('checkpoint', help='checkpoint with its backbone')
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
        help="images, one sub-folder a class; default: the test set of the config's "
        'KNNHook',
    )
    parser.add_argument(
        '--num',
        type=int,
        default=2000,
        help='images to use, spread evenly over the set (default: 2000)',
    )
    parser.add_argument(
        '--prefix',
        default=PREFIX,
        help=f"what the backbone's names start with (default: {PREFIX})",
    )
    parser.add_argument('--seed', type=int, default=0, help='of t-SNE (default: 0)')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override settings, such as data_root=path',
    )
    parser.add_argument(
        '--debug', action='store_true', help='show the traceback of every error'
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Extract, embed, draw; return the exit code."""
    args = parse_args(argv)

    def body(command: Command) -> None:
        if args.num < 3:
            raise ConfigError(f'--num {args.num} makes no picture; give at least 3')
        cfg = load_config(args.config, args.cfg_options)
        if 'backbone' not in (cfg.get('model') or {}):
            raise ConfigError(
                f'{cfg.filename} has no model with a backbone; give the config of the '
                'pretraining'
            )
        init_default_scope(cfg.get('default_scope', 'mmselfsup'))
        root = args.data_root
        images = labelled_sets(cfg)['test'] if root is None else folder_set(cfg, root)
        model = MODELS.build(cfg.model)
        load_backbone(model.backbone, args.checkpoint, args.prefix)
        batches, classes = load_set(images, args.num)
        features, labels = extract_features(model.to(get_device()), batches)
        points, names = embed(features.cpu().numpy(), args.method, args.seed)
        name = dict(pca='PCA', tsne='t-SNE')[args.method]
        title = f'{name} of {features.shape[1]} features, {len(points)} images'
        plot_embedding(points, labels.cpu().numpy(), classes, names, title, args.out)
        print(f'Wrote {args.out}: {title}')

    return Command(args.debug).run(body)


if __name__ == '__main__':
    sys.exit(main())
