"""Gather pretraining and evaluation results into the tables of the paper."""

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

from mmaccel.cli.command import Command
from mmaccel.errors import ConfigError
from mmaccel.evaluation.pretraining import Pretraining, find_pretrainings
from mmaccel.evaluation.record import read_records
from mmaccel.evaluation.table_formats import file_name, to_csv, to_json, to_markdown
from mmaccel.evaluation.tables import make_tables
from mmaccel.fileio import write_atomically

EXAMPLES = """
examples:
  # everything below work_dirs, printed as markdown
  python tools/analysis_tools/collect_results.py work_dirs

  # tables.md, tables.json and one CSV a table, the paper's figures beside ours
  python tools/analysis_tools/collect_results.py work_dirs --out tables --paper

  # pretraining logs that lie elsewhere
  python tools/analysis_tools/collect_results.py work_dirs/linear work_dirs/voc07 \\
      --pretrain-logs /data/pretraining
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
    parser.add_argument(
        '--debug', action='store_true', help='show the traceback of every error'
    )
    return parser.parse_args(argv)


def collect_pretrainings(
    args: argparse.Namespace, records: list[dict]
) -> list[Pretraining]:
    """Runs below all folders given, and where the records' checkpoints lie."""
    missing = [folder for folder in args.pretrain_logs if not Path(folder).is_dir()]
    if missing:
        raise ConfigError(
            f'there is no folder {missing[0]}; give --pretrain-logs folders '
            'of pretrainings'
        )
    named = {Path(record['pretrain']) for record in records if record.get('pretrain')}
    beside = sorted(path.parent for path in named if path.parent.is_dir())
    beside = [path for path in beside if (path / 'vis_data').is_dir()]
    return find_pretrainings([*args.work_dirs, *args.pretrain_logs, *beside])


def main(argv: list[str] | None = None) -> int:
    """Collect, then print or write; return the exit code."""
    args = parse_args(argv)

    def body(command: Command) -> None:
        records = read_records(args.work_dirs)
        runs = collect_pretrainings(args, records)
        if not records and not runs:
            raise ConfigError(
                f'there is neither a result.json nor a log of a pretraining below '
                f'{", ".join(args.work_dirs)}; name the work directories of finished '
                'evaluations'
            )
        tables = make_tables(records, runs)
        markdown = to_markdown(tables, args.paper)
        if args.out is None:
            print(markdown, end='')
            return
        out = Path(args.out)
        write_atomically(out / 'tables.md', markdown.encode())
        report = dict(
            work_dirs=args.work_dirs,
            tables=to_json(tables, args.paper),
            records=records,
            pretrainings=[
                dict(run._asdict(), recipe=run.recipe._asdict()) for run in runs
            ],
        )
        write_atomically(out / 'tables.json', (json.dumps(report, indent=2)).encode())
        for table in tables:
            name = out / f'{file_name(table)}.csv'
            write_atomically(name, to_csv(table, args.paper).encode())
        print(
            f'Wrote {out / "tables.md"}, tables.json and {len(tables)} CSV files '
            f'(results: {len(records)}, pretrainings: {len(runs)})'
        )

    return Command(args.debug).run(body)


if __name__ == '__main__':
    sys.exit(main())
