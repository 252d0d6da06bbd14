"""Compare cheap training steps with the whole one: where do their gradients point?

At saved checkpoints of a training, the gradient of every exit, entry, smaller view and
choice of windows is compared with that of the whole network, whole maps, whole views
and the last loss, stage by stage: the cosine of the angle between two gradients of the
mean loss over one batch. What noise leaves to expect is measured beside it: the cosine
of two whole gradients of different images, and of other views of the same ones.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

EXAMPLES = """
examples:
  # a plain SimCLR whose exits learn beside it, early, in the middle and late
  python research/gradients.py run.json epoch_1.pth epoch_2.pth epoch_4.pth \\
      --out gradients.png --json gradients.json

  # the paper's method, on images elsewhere
  python research/gradients.py configs/small/accel-mocov2_r18_cifar10.py \\
      work_dirs/cifar10/epoch_200.pth --data-root photos --out gradients.png
"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='pretraining config of an accelerated model')
    parser.add_argument(
        'checkpoints', nargs='+', metavar='CKPT', help='checkpoints of its training'
    )
    parser.add_argument(
        '--data-root',
        metavar='D',
        help="folder with train/, in place of the config's",
    )
    parser.add_argument(
        '--labels',
        nargs='+',
        metavar='TEXT',
        help="what the picture calls each checkpoint (default: its file's name)",
    )
    parser.add_argument('--out', required=True, metavar='PNG', help='picture to write')
    parser.add_argument('--json', metavar='F', help='also write the figures to F')
    parser.add_argument(
        '--batches',
        type=int,
        default=8,
        metavar='N',
        help='batches of different images to average over, 2 or more (default: '
        '%(default)s)',
    )
    parser.add_argument(
        '--batch-size',
        type=int,
        metavar='N',
        help="images of each, 2 or more (default: the config's)",
    )
    parser.add_argument(
        '--seed',
        type=int,
        default=0,
        help='of images, views and windows (default: %(default)s)',
    )
    args = parser.parse_args(argv)
    args.labels = args.labels or [Path(path).stem for path in args.checkpoints]
    if len(args.labels) != len(args.checkpoints):
        parser.error('--labels needs one text per checkpoint')
    if len(set(args.labels)) < len(args.labels):
        parser.error('two checkpoints have one label; give each its own by --labels')
    for name in ('batches', 'batch_size'):
        if getattr(args, name) is not None and getattr(args, name) < 2:
            parser.error(f'--{name.replace("_", "-")} must be at least 2')
    if not args.out.endswith('.png'):
        parser.error('--out must end with .png')
    return args


def execute(args: argparse.Namespace) -> None:
    """Measure, draw and save.

    Raises:
        ConfigError: If model, checkpoints or images do not fit.
    """
    import mmaccel  # noqa: F401  registers the components that configs name
    from mmaccel.engine.config import load_config
    from mmaccel.engine.config_reader import dicts
    from mmaccel.fileio import write_atomically
    from research.study.gradients import compare_checkpoints
    from research.study.gradients_plot import gradients_plot
    from research.study.runner import setting

    cfg = load_config(args.config)
    if args.data_root is not None:
        for node in dicts(cfg.train_dataloader):
            if 'data_root' in node:
                node['data_root'] = str(Path(args.data_root, 'train'))
    found = compare_checkpoints(
        cfg,
        dict(zip(args.labels, args.checkpoints)),
        args.batches,
        args.batch_size,
        args.seed,
    )
    files = ' '.join(Path(path).name for path in (args.config, *args.checkpoints))
    command = (
        f'python research/gradients.py {files} --batches {found["batches"]} '
        f'--batch-size {found["batch_size"]} --seed {found["seed"]}'
    )
    found = dict(command=command, model=cfg.model.type, **setting(), **found)
    gradients_plot(found).draw(Path(args.out))
    if args.json:
        write_atomically(args.json, f'{json.dumps(found)}\n'.encode())
    print(f'Wrote {args.out}')


def main(argv: list[str] | None = None) -> int:
    """Compare gradients; return the exit code."""
    args = parse_args(argv)
    from mmaccel.cli.command import Command

    return Command().run(lambda _: execute(args))


if __name__ == '__main__':
    raise SystemExit(main())
