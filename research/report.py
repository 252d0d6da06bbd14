"""Fill the figures and pictures of the study's report from the records of its runs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

EXAMPLES = """
examples:
  # write every figure and every picture anew
  python research/report.py

  # write nothing; exit code 1 if anything does not show the records
  python research/report.py --check

  # a report of your own, from the records of two machines
  python research/report.py --report mine/report.md --records mine/*.jsonl

The report is markdown with blocks of Python; research/study/report.py says what stands
in them.
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
        default=['research/records.jsonl'],
        metavar='FILE',
        help='files that research/run.py wrote (default: research/records.jsonl)',
    )
    parser.add_argument(
        '--costs',
        nargs='+',
        default=['research/step_times.json', 'research/operations.json'],
        metavar='FILE',
        help='files that research/step_times.py wrote, for speed-ups; times in any go '
        'before operations (default: research/step_times.json '
        'research/operations.json)',
    )
    parser.add_argument(
        '--report',
        nargs='+',
        default=['research/report.md', 'README.md', 'configs/accel/README.md'],
        metavar='FILE',
        help='pages to fill (default: research/report.md README.md '
        'configs/accel/README.md)',
    )
    parser.add_argument(
        '--check',
        action='store_true',
        help='write nothing, show what is out of date',
    )
    return parser.parse_args(argv)


def execute(args: argparse.Namespace) -> None:
    """Write or check.

    Raises:
        ConfigError: If a file is missing, a block cannot be filled, or, with
            ``--check``, something is out of date.
    """
    from mmaccel.errors import ConfigError
    from research.study.records import read_runs
    from research.study.report import Report
    from research.study.speedup import StepCosts

    for file in args.records:
        if not Path(file).is_file():
            raise ConfigError(f'there are no records {file}; research/run.py adds them')
    costs = StepCosts(*args.costs)
    records = read_runs(*args.records)
    reports = [Report(path, records, costs) for path in args.report]
    outdated = {}
    for path, report in zip(args.report, reports):
        if not args.check:
            report.write()
            print(f'Wrote {path} and {len(report.plots)} pictures')
        elif found := report.outdated():
            outdated[path] = found
            print('\n'.join(found))
        else:
            print(f'{path} shows the records')
    if outdated:
        raise ConfigError(
            f'{", ".join(outdated)} out of date; run python research/report.py'
        )


def main(argv: list[str] | None = None) -> int:
    """Fill or check the report; return the exit code."""
    args = parse_args(argv)
    from mmaccel.cli.command import Command

    return Command().run(lambda _: execute(args))


if __name__ == '__main__':
    raise SystemExit(main())
