"""Say whether a pretrained network tells images apart, after each stage.

Two views of a batch of the training images are projected, as in a training step. A mean
similarity of different images far above 0, or an effective rank of a few, is a
collapse: the loss may have fallen all the same.
"""

from __future__ import annotations

import argparse
import json
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
from mmengine.config import Config, ConfigDict, DictAction
from mmengine.dataset import default_collate
from mmengine.device import get_device
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmengine.runner import set_random_seed
from mmselfsup.registry import DATASETS, MODELS
from torch import nn

from mmaccel.analysis.spread import spread_of
from mmaccel.engine.config import load_config
from mmaccel.engine.preflight import check_data
from mmaccel.engine.weights import load_whole
from mmaccel.errors import ConfigError

EXAMPLES = """
examples:
  python tools/analysis_tools/measure_spread.py \\
      configs/small/accel-mocov2_r18_cifar10.py work_dirs/cifar10/epoch_200.pth

  # as numbers, and of other images
  python tools/analysis_tools/measure_spread.py CONFIG CKPT --json spread.json \\
      --cfg-options train_dataloader.dataset.data_root=photos
"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='the config that the checkpoint was trained by')
    parser.add_argument('checkpoint', help='checkpoint of its training')
    parser.add_argument(
        '--num',
        type=int,
        default=256,
        help='images of the batch, drawn from the training set, or all of a smaller '
        'one; compare ranks of equal numbers only (default: 256)',
    )
    parser.add_argument(
        '--seed', type=int, default=0, help='of images and views (default: 0)'
    )
    parser.add_argument('--json', metavar='FILE', help='write the figures, too')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override settings, as the pretraining had them',
    )
    parser.add_argument(
        '--debug', action='store_true', help='show the traceback of every error'
    )
    return parser.parse_args(argv)


def load_model(cfg: Config, checkpoint: str) -> nn.Module:
    """The config's model with the checkpoint's weights, all of them."""
    model = MODELS.build(cfg.model)
    if not (hasattr(model, 'neck') and hasattr(model, 'backbone')):
        raise ConfigError(
            f'{cfg.filename} has no model with backbone and neck; give the config of a '
            'contrastive pretraining'
        )
    load_whole(model, checkpoint)
    return revert_sync_batchnorm(model).to(get_device())


def load_batch(cfg: Config, number: int) -> dict:
    """Views of images drawn from the training set."""
    check_data(cfg, 'train_dataloader')
    dataset = DATASETS.build(ConfigDict(cfg.train_dataloader.dataset))
    if min(number, len(dataset)) < 2:
        raise ConfigError(
            f'--num {number} of {len(dataset)} images leaves no two to compare'
        )
    chosen = torch.randperm(len(dataset))[:number].tolist()
    return default_collate([dataset[i] for i in chosen])


def main(argv: list[str] | None = None) -> int:
    """Measure and print; return the exit code."""
    args = parse_args(argv)

    def body(command: Command) -> None:
        cfg = load_config(args.config, args.cfg_options)
        init_default_scope(cfg.get('default_scope', 'mmselfsup'))
        set_random_seed(args.seed)
        model = load_model(cfg, args.checkpoint)
        inputs, _ = model.data_preprocessor(load_batch(cfg, args.num), True)
        found = spread_of(model, inputs)
        print(f'{len(inputs[0])} images; mean cosine of views of the same, of others')
        print(f'{"stage":>5} {"same":>7} {"other":>7} {"std":>6} {"rank":>7}')
        for stage, spread in found.items():
            pos, neg, std, rank = spread
            print(f'{stage:>5} {pos:>+7.3f} {neg:>+7.3f} {std:>6.3f} {rank:>7.1f}')
        if args.json:
            text = json.dumps({s: spread._asdict() for s, spread in found.items()})
            Path(args.json).write_text(text + '\n')

    return Command(args.debug).run(body)


if __name__ == '__main__':
    sys.exit(main())
