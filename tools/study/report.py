"""Fill the tables and pictures of a study's report from the records of its runs."""

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

from mmaccel.cli.command import Command
from mmaccel.errors import ConfigError
from mmaccel.study.records import read_records
from mmaccel.study.report import Report

EXAMPLES = """
examples:
  # write every table and every picture anew
  python tools/study/report.py

  # write nothing; exit code 1 if anything does not show the records
  python tools/study/report.py --check

  # records of two machines
  python tools/study/report.py --records docs/study/cpu.jsonl docs/study/gpu.jsonl

blocks:
  The report is markdown written by hand. A block in it begins with a comment that says
  what is wanted and ends with <!-- /study -->; what is between is the tool's.

  <!-- study: table
  columns: epochs, n, knn, test-linear, seconds, ratio, knn-diff
  reference: */baseline-200e
  mocov2/baseline-200e: MoCo v2
  mocov2/paper-200e: Accel-MoCo v2
  mocov2/baseline-*: MoCo v2, {epochs} epochs
  -->
  <!-- /study -->

  The first line is the kind of block and a name; the others are options, "NAME: VALUE",
  and groups, "METHOD/VARIANT: LABEL" or a pattern, one a line. Rows stand in this
  order, those of a pattern by name, each group once. The label may be left out;
  {epochs}, {variant}, {method} and {group} are filled in.

  labels    labels that hold for all blocks; it has no <!-- /study -->:
              <!-- study: labels
              mocov2/paper-200e: Accel-MoCo v2
              -->
  table     columns (required), separated by commas:
              epochs, n
              knn               on held-out training images, the curve's last point
              held-out-knn, held-out-linear, test-knn, test-linear
                                final features; a probe of all stages counts as linear
              knn-diff, test-knn-diff, ...
                                points more than the reference has
              seconds           of training, the curve's last point
              ratio             of these to the reference's
              end-to-end        seconds of tools/train.py
              step-ms, data-ms  a step, and its wait for data
              neg-sim, rank     projections after the last stage: mean cosine of
                                different images, effective rank
            reference: a group; */baseline-200e is the baseline of each row's method
            heading: of the first column (default: run)
  stages    linear accuracy of the features of every stage
            split: held_out (default) or test
            heading: as above
  runs      how many runs, for how long, on what; of all groups unless some are named
  curves    kNN accuracy on held-out images against training time, seeds as mean and
            range; X and Accel-X share a colour:
              <!-- study: curves mocov2.png
              mocov2/baseline-200e: MoCo v2
              mocov2/paper-200e: Accel-MoCo v2
              -->
            alt: the picture's description
  epochs    kNN accuracy on held-out images by epoch, as a picture and a table, beside
            curves of others:
              <!-- study: epochs published.png
              published: MoCo demo: 1 31.98, 2 33.52
              mocov2/baseline-200e: MoCo v2
              -->
            published: label, then epochs and percents; may be repeated
            heading, alt: as above
  frontier  final accuracy against training time relative to the reference's:
              <!-- study: frontier frontier.png
              reference: mocov2/baseline-200e
              line: mocov2/baseline-*
              mocov2/*
              -->
            line: groups to draw and join, such as baselines of several lengths; may be
              repeated
            accuracy: as in the columns of a table (default: knn)
            reference, alt: as above

  Figures are means ± sample standard deviation over the seeds; one of fewer runs than
  its row has says so, "(n=1)". Failed runs are named below and count nowhere. A
  picture is written beside the report and carries a hash of its numbers, which --check
  compares.
"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--records',
        nargs='+',
        default=['docs/study/records.jsonl'],
        metavar='FILE',
        help='files that tools/study/run.py wrote (default: docs/study/records.jsonl)',
    )
    parser.add_argument(
        '--report',
        default='docs/study/report.md',
        metavar='FILE',
        help='the report; pictures lie beside it (default: %(default)s)',
    )
    parser.add_argument(
        '--check',
        action='store_true',
        help='write nothing, name what is out of date',
    )
    return parser.parse_args(argv)


def execute(args: argparse.Namespace) -> None:
    """Write or check.

    Raises:
        ConfigError: If a file is missing, a block cannot be filled, or, with
            ``--check``, something is out of date.
    """
    for file in args.records:
        if not Path(file).is_file():
            raise ConfigError(
                f'there are no records {file}; tools/study/run.py adds them'
            )
    report = Report(args.report, read_records(*args.records))
    if not args.check:
        report.write()
        print(f'Wrote {args.report} (blocks: {len(report.blocks)})')
        return
    outdated = report.outdated()
    if outdated:
        raise ConfigError(
            f'{args.report} is out of date: {", ".join(outdated)}; run '
            'python tools/study/report.py'
        )
    print(f'{args.report} shows the records (blocks: {len(report.blocks)})')


def main(argv: list[str] | None = None) -> int:
    """Fill or check the report; return the exit code."""
    args = parse_args(argv)
    return Command().run(lambda _: execute(args))


if __name__ == '__main__':
    raise SystemExit(main())
