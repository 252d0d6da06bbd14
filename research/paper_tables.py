"""Gather results into the layouts of the paper's tables."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.append(str(Path(__file__).resolve().parents[1] / 'tools'))
import _checkout  # noqa: F401, arguments are read before mmaccel starts

from mmaccel.cli import collect, start
from mmaccel.cli.command import Command, about

EXAMPLES = """\
  # everything below work_dirs, printed as markdown
  python research/paper_tables.py work_dirs

  # tables.md, tables.json and one CSV file per table, the paper's figures beside ours
  python research/paper_tables.py work_dirs --out tables --paper
"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(**about(__doc__, EXAMPLES))
    collect.add_arguments(parser)
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
    start()
    return Command().run(lambda _: execute(args))


if __name__ == '__main__':
    raise SystemExit(main())
