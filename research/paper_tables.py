"""Gather results into the layouts of the paper's tables."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

EXAMPLES = """
examples:
  # everything below work_dirs, printed as markdown
  python research/paper_tables.py work_dirs

  # tables.md, tables.json and one CSV file per table, the paper's figures beside ours
  python research/paper_tables.py work_dirs --out tables --paper
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
        '--paper',
        action='store_true',
        help="add the paper's figures, in columns of their own",
    )
    return parser.parse_args(argv)


def execute(args: argparse.Namespace) -> None:
    """Collect, then print or write."""
    from mmaccel.evaluation.tables import gather, to_markdown, write_tables
    from research.paper.tables import PAPER_NOTE, make_paper_tables

    records, runs = gather(args.work_dirs, args.pretrain_logs)
    tables = make_paper_tables(records, runs, args.paper)
    note = PAPER_NOTE if args.paper else ''
    if args.out is None:
        print(to_markdown(tables, note), end='')
        return
    write_tables(args.out, tables, records, runs, note)
    print(
        f'Wrote tables.md, tables.json and {len(tables)} CSV files to {args.out} '
        f'(results: {len(records)}, pretrainings: {len(runs)})'
    )


def main(argv: list[str] | None = None) -> int:
    """Gather the results; return the exit code."""
    args = parse_args(argv)
    from mmaccel.cli.command import Command

    return Command().run(lambda _: execute(args))


if __name__ == '__main__':
    raise SystemExit(main())
