"""Gather the results of pretrainings and evaluations into tables."""

from __future__ import annotations

import argparse

EXAMPLES = """\
  # everything below work_dirs, printed as markdown
  mmaccel collect work_dirs

  # tables.md, tables.json and one CSV file per table
  mmaccel collect work_dirs --out tables

  # pretraining logs that lie elsewhere
  mmaccel collect work_dirs/linear work_dirs/voc07 --pretrain-logs /data/pretraining

In the layout of the paper's tables: python research/paper_tables.py
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
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


def run(args: argparse.Namespace) -> None:
    """Collect, then print or write."""
    from mmaccel.evaluation.tables import gather, make_tables, to_markdown, write_tables

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
