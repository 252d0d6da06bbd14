"""Check that a folder has ImageNet (ILSVRC 2012) in the layout the configs expect.

train/<class>/*.JPEG, val/*.JPEG or val/<class>/*.JPEG, meta/train.txt and meta/val.txt
with a file name and a label per line. Exit code 0 only if all of it is right.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))
import _checkout  # noqa: F401, it finds mmaccel
from preparation import as_table, explain
from preparation.imagenet import Counts, ImageNetFolder

from mmaccel.cli.command import Command, about
from mmaccel.errors import ConfigError

EXAMPLES = """\
  # what is there, and a sample of the images
  python tools/dataset_converters/check_imagenet.py data/imagenet

  # write the lists that are missing
  python tools/dataset_converters/check_imagenet.py data/imagenet --write-meta

  # open every image, once after a copy
  python tools/dataset_converters/check_imagenet.py data/imagenet --full --workers 16
"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(**about(__doc__, EXAMPLES))
    parser.add_argument('data_root', type=Path, metavar='DATA_ROOT', help='the folder')
    parser.add_argument(
        '--full',
        action='store_true',
        help='open every image; by default 1,000 of train and of val',
    )
    parser.add_argument(
        '--workers',
        type=int,
        default=min(8, os.cpu_count() or 1),
        metavar='N',
        help='processes that open images (default: one per core, at most 8)',
    )
    parser.add_argument(
        '--write-meta',
        action='store_true',
        help='write meta/train.txt and meta/val.txt where they are missing; nothing is '
        'written without this',
    )
    args = parser.parse_args(argv)
    if args.workers < 1:
        parser.error('--workers must be at least 1')
    return args


def write_meta(folder: ImageNetFolder) -> None:
    """Write the lists that are missing; tell of those that cannot be made."""
    for split in ('train', 'val'):
        try:
            path = folder.write_meta(split)
        except ConfigError as error:  # the check tells what else is missing
            print(f'not written: {error}', file=sys.stderr)
        else:
            if path:
                print(f'wrote {path}', file=sys.stderr)


def main(argv: list[str] | None = None, counts: Counts | None = None) -> int:
    """Check; print the table; return the exit code."""
    args = parse_args(argv)

    def body(command: Command) -> None:
        if not args.data_root.is_dir():
            raise ConfigError(
                f'there is no folder {args.data_root}; give the one that has train, '
                'val and meta'
            )
        folder = ImageNetFolder(args.data_root, counts)
        if args.write_meta:
            write_meta(folder)
        findings = folder.check(args.full, args.workers)
        print(as_table(findings))
        wrong = [finding for finding in findings if not finding.ok]
        if wrong:
            remedies = dict.fromkeys(finding.source for finding in wrong)
            print('\n'.join(['', explain(wrong), '', 'To get it right:']))
            print('\n'.join(f'- {remedy}' for remedy in remedies))
            raise ConfigError(
                f'{len(wrong)} of {len(findings)} parts of {args.data_root} are not in '
                'order: see above for what to do'
            )

    return Command().run(body)


if __name__ == '__main__':
    sys.exit(main())
