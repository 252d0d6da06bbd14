"""Gather the results of pretrainings and evaluations into tables."""

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
from mmaccel.evaluation.tables import gather, make_tables, to_markdown, write_tables

EXAMPLES = """
examples:
  # everything below work_dirs, printed as markdown
  python tools/analysis_tools/collect_results.py work_dirs

  # tables.md, tables.json and one CSV file per table
  python tools/analysis_tools/collect_results.py work_dirs --out tables

  # pretraining logs that lie elsewhere
  python tools/analysis_tools/collect_results.py work_dirs/linear work_dirs/voc07 \\
      --pretrain-logs /data/pretraining

In the layout of the paper's tables: python research/paper_tables.py
"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'work_dirs',
        nargs='+',
        metavar='WORK_DIR',
        help='folders below which evaluations left result.json; pretrainings below '
        'them and those the results name are found, too',
    )
    parser.add_argument(
        '--out', metavar='DIR', help='folder for the files; none: print'
    )
    parser.add_argument(
        '--pretrain-logs',
        nargs='+',
        default=[],
        metavar='DIR',
        help='further folders of pretrainings, for their training time',
    )
    parser.add_argument(
        '--debug', action='store_true', help='show the traceback of every error'
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Collect, then print or write; return the exit code."""
    args = parse_args(argv)

    def body(command: Command) -> None:
        records, runs = gather(args.work_dirs, args.pretrain_logs)
        tables = make_tables(records, runs)
        if args.out is None:
            print(to_markdown(tables), end='')
            return
        write_tables(args.out, tables, records, runs)
        print(
            f'Wrote tables.md, tables.json and {len(tables)} CSV files to {args.out} '
            f'(results: {len(records)}, pretrainings: {len(runs)})'
        )

    return Command(args.debug).run(body)


if __name__ == '__main__':
    sys.exit(main())
