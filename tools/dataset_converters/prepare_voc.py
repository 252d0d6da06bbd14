"""Prepare or check VOC 2007, VOC 2012 and SBD's augmented training set.

Unpacks the archives you have, makes the augmented masks and lists, and tells what is
missing, damaged or wrong. Nothing is downloaded; what is complete is left alone; what
was interrupted goes on when called again. Exit code 0 only if all that was asked for
is complete. The archives, as their official pages offer them:

  VOCtrainval_06-Nov-2007.tar, VOCtest_06-Nov-2007.tar   voc2007
  VOCtrainval_11-May-2012.tar                            voc2012, and sbd's images
  benchmark.tgz                                          sbd
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))
import _checkout  # noqa: F401, it finds mmaccel
from preparation import (
    Finding,
    Source,
    as_table,
    explain,
    install,
    open_source,
    remove_stages,
)
from preparation.sbd import augment
from preparation.voc import (
    ARCHIVES,
    PARTS,
    SBD,
    SPLITS,
    Archive,
    Split,
    check_voc,
)

from mmaccel.cli.command import Command, about
from mmaccel.errors import ConfigError

EXAMPLES = """\
  # everything, all four archives in one folder
  python tools/dataset_converters/prepare_voc.py --out data/VOCdevkit \\
      --archives downloads

  # detection only
  python tools/dataset_converters/prepare_voc.py --out data/VOCdevkit \\
      --archives downloads --only voc2007

  # augmented masks for a VOC 2012 that is unpacked already
  python tools/dataset_converters/prepare_voc.py --out data/VOCdevkit \\
      --only voc2012 sbd --sbd downloads/benchmark_RELEASE

  # look only, and open every file
  python tools/dataset_converters/prepare_voc.py --out data/VOCdevkit --check --full
"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(**about(__doc__, EXAMPLES))
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('data/VOCdevkit'),
        metavar='DIR',
        help='the devkit: the folder that has, or gets, VOC2007 and VOC2012; they may '
        'be links (default: data/VOCdevkit)',
    )
    parser.add_argument(
        '--archives',
        type=Path,
        metavar='DIR',
        help='a folder with the archives, under their official names',
    )
    parser.add_argument(
        '--sbd',
        type=Path,
        metavar='PATH',
        help='SBD: benchmark.tgz, or the folder it unpacks to (default: benchmark.tgz '
        'in --archives)',
    )
    parser.add_argument(
        '--only',
        nargs='+',
        choices=PARTS,
        default=PARTS,
        metavar='PART',
        help=f'what to prepare and check, of {", ".join(PARTS)} (default: all)',
    )
    parser.add_argument('--check', action='store_true', help='look only, write nothing')
    parser.add_argument(
        '--full',
        action='store_true',
        help='open every file; by default all files are looked for and 100 of each '
        'kind are opened',
    )
    args = parser.parse_args(argv)
    if args.check and (args.archives or args.sbd):
        parser.error('--check writes nothing, so it takes neither --archives nor --sbd')
    return args


def prepare(
    args: argparse.Namespace, splits: Sequence[Split], findings: Sequence[Finding]
) -> dict[str, str]:
    """Fill in what the findings lack from the archives that are given.

    Returns:
        By name, of each archive that could not be used, why and what to do.
    """
    lacking = {finding.source for finding in findings if not finding.ok}
    rejected = {}
    for archive in ARCHIVES:
        path = given(archive, args)
        if archive.name not in lacking or path is None:
            continue
        print(f'Reading {path} ...', file=sys.stderr, flush=True)
        # what is damaged has its right size, and would be taken for whole
        damaged = [
            file.partition('/')[2]
            for finding in findings
            if finding.source == archive.name
            for file in finding.faults
        ]
        try:
            source = open_source(path)
            if archive.name == SBD:
                written = augment(source, args.out, splits, damaged)
            else:
                written = unpack(source, args.out / archive.year, damaged)
        except ConfigError as error:
            rejected[archive.name] = str(error)
        else:
            print(f'{written} files written', file=sys.stderr, flush=True)
    return rejected


def given(archive: Archive, args: argparse.Namespace) -> Path | None:
    """Where the user has an archive, None if that was not said."""
    if archive.name == SBD and args.sbd is not None:
        return args.sbd
    if args.archives is not None:
        path = args.archives / archive.name
        return path if path.is_file() else None
    return None


def unpack(source: Source, root: Path, damaged: Sequence[str]) -> int:
    """Install the files of a VOC archive that belong below ``root``, its year."""
    targets = {}
    for name in source.sizes:
        _, found, path = f'/{name}'.partition(f'/{root.name}/')
        if found:
            targets[name] = path
    if not targets:
        raise ConfigError(
            f'{source.path} has no folder {root.name}: it is another archive than its '
            'name says; get it again'
        )
    return install(source, root, targets, replace=damaged)


def remedies(
    findings: Sequence[Finding], args: argparse.Namespace, rejected: dict[str, str]
) -> list[str]:
    """For each archive that something lacks from, what to do."""
    lacking = {finding.source for finding in findings if not finding.ok}
    lines = []
    for archive in ARCHIVES:
        if archive.name not in lacking:
            continue
        path = given(archive, args)
        if archive.name in rejected:
            lines.append(rejected[archive.name])
        elif path is not None:
            lines.append(
                f'{path} did not repair this: it is not the whole {archive.name}; get '
                f'it again from {archive.page}'
            )
        else:
            lines.append(
                f'get {archive.name} from {archive.page}, and give '
                + (
                    'it with --sbd'
                    if archive.name == SBD
                    else 'its folder with --archives'
                )
            )
    return lines


def report(
    findings: Sequence[Finding], args: argparse.Namespace, rejected: dict[str, str]
) -> None:
    """Print the table, and what to do where it is not in order.

    Raises:
        ConfigError: If it is not.
    """
    print(as_table(findings))
    wrong = [finding for finding in findings if not finding.ok]
    if wrong:
        print('\n'.join(['', explain(wrong), '', 'To get it right:']))
        print('\n'.join(f'- {line}' for line in remedies(wrong, args, rejected)))
        raise ConfigError(
            f'{len(wrong)} of {len(findings)} parts of {args.out} are not in order: '
            'see above for what to do'
        )


def main(argv: list[str] | None = None, splits: Sequence[Split] = SPLITS) -> int:
    """Prepare or check; print the table; return the exit code."""
    args = parse_args(argv)

    def body(command: Command) -> None:
        if args.archives is not None and not args.archives.is_dir():
            raise ConfigError(f'there is no folder {args.archives}; correct --archives')
        if args.sbd is not None and not args.sbd.exists():
            raise ConfigError(
                f'there is no folder or archive {args.sbd}; correct --sbd'
            )
        findings = check_voc(args.out, args.only, splits, args.full)
        rejected: dict[str, str] = {}
        if not args.check and not all(finding.ok for finding in findings):
            try:
                rejected = prepare(args, splits, findings)
            except PermissionError as error:
                raise ConfigError(
                    f'{error.filename} cannot be written; give --out a folder that '
                    'can, or --check to look only'
                ) from error
            findings = check_voc(args.out, args.only, splits, args.full)
        if not args.check:
            for year in ('VOC2007', 'VOC2012'):
                remove_stages(args.out / year)
        report(findings, args, rejected)

    return Command().run(body)


if __name__ == '__main__':
    sys.exit(main())
