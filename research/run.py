"""Train and evaluate the runs of a declared grid; one line of JSON per run."""

from __future__ import annotations

import argparse
import fnmatch
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

if TYPE_CHECKING:
    from research.study.grid import Run

EXAMPLES = """
examples:
  # what the grid holds, and what of it is done
  python research/run.py research/grids/cpu.py --list

  # all of it on a machine with two cores, one process per core
  python research/run.py research/grids/cpu.py --jobs 2

  # three seeds of two methods, four processes on one GPU
  python research/run.py research/grids/gpu.py --jobs 4 \\
      --only 'mocov2/baseline-200e/*' 'mocov2/paper-200e/*'
"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('grid', help='such as research/grids/cpu.py')
    parser.add_argument(
        '--only',
        nargs='+',
        metavar='PATTERN',
        help="runs by name, such as 'mocov2/*' or '*/0' for the seed 0",
    )
    parser.add_argument(
        '--data-root',
        default='data/cifar10',
        help='folder with train/<class>/* and test/<class>/* (default: %(default)s)',
    )
    parser.add_argument(
        '--records',
        default='research/records.jsonl',
        help='file the records are added to (default: %(default)s)',
    )
    parser.add_argument(
        '--work-dir',
        default='work_dirs/study',
        help='folder for checkpoints and logs; a run that was interrupted goes on '
        'from its last checkpoint there (default: %(default)s)',
    )
    parser.add_argument(
        '--jobs',
        type=int,
        default=1,
        help='processes at once: one per core, or on one GPU, where they take time '
        'from each other (default: %(default)s)',
    )
    parser.add_argument(
        '--retry', action='store_true', help='also repeat runs that failed'
    )
    parser.add_argument('--list', action='store_true', help='only print the runs')
    parser.add_argument(
        '--adopt-records',
        action='store_true',
        help='only give the records of runs with these names the keys that the configs '
        'have now: after a change of their words that changes no training',
    )
    return parser.parse_args(argv)


def chosen(runs: list[Run], patterns: list[str] | None) -> list[Run]:
    """Runs whose name fits a pattern, all without one.

    Raises:
        ConfigError: If a pattern fits nothing.
    """
    from mmaccel.errors import ConfigError

    if not patterns:
        return runs
    for pattern in patterns:
        if not any(fnmatch.fnmatch(run.name, pattern) for run in runs):
            raise ConfigError(f'no run is called {pattern}; --list shows their names')
    return [r for r in runs if any(fnmatch.fnmatch(r.name, p) for p in patterns)]


def check_runs(runs: list[Run], done: Mapping[str, dict]) -> None:
    """Check that every run has one name.

    Raises:
        ConfigError: If two names stand for one run, of whose records only the later
            would count, or a run is recorded under another name, which the report
            would show.
    """
    from mmaccel.errors import ConfigError

    names: dict[str, str] = {}
    for run in runs:
        other = names.setdefault(run.key, run.name)
        if other != run.name:
            raise ConfigError(
                f'{other} and {run.name} differ in nothing but their name; declare one '
                'of them'
            )
        name = done.get(run.key, {}).get('name', run.name)
        if name != run.name:
            raise ConfigError(
                f'{run.name} is recorded as {name}; rename it in the records, too, or '
                'remove the line to run it again'
            )


def check_images(data_root: str, runs: list[Run]) -> None:
    """Check that a folder has the images that runs need, before each fails by it.

    Raises:
        ConfigError: If it has not.
    """
    from mmaccel.errors import ConfigError

    splits = ['train', *({'test'} & {s for run in runs for s in run.evaluate_on})]
    for split in splits:
        if not any(Path(data_root, split).glob('*/*')):
            raise ConfigError(
                f'{data_root} has no images in {split}/<class>/; name the folder that '
                'has with --data-root'
            )


def execute(args: argparse.Namespace) -> None:
    """Run what is missing.

    Raises:
        ConfigError: If it cannot be started, or a run failed.
    """
    from mmaccel.errors import ConfigError
    from research.study.grid import read_grid
    from research.study.records import change_keys, read_runs
    from research.study.runner import Study

    runs = chosen(read_grid(args.grid), args.only)
    if args.adopt_records:
        changed = change_keys(args.records, {run.name: run.key for run in runs})
        print(f'{changed} records of {args.records} have new keys')
        return
    done = {record['key']: record for record in read_runs(args.records)}
    check_runs(runs, done)
    if args.list:
        for run in runs:
            print(f'{run.status(done.get(run.key)):8} {run.name}')
        return
    wanted = {'missing', 'trained', *(['failed'] if args.retry else [])}
    missing = [run for run in runs if run.status(done.get(run.key)) in wanted]
    print(f'{len(runs)} runs, {len(missing)} to do', flush=True)
    if not missing:
        return
    check_images(args.data_root, missing)
    study = Study(args.data_root, args.work_dir, args.records)
    failed = study.run_all(missing, args.jobs)
    if failed:
        raise ConfigError(
            f'{len(failed)} of {len(missing)} runs did not end: {", ".join(failed)}; '
            f'reasons are above, and of those that failed in {args.records}; --retry '
            'repeats these'
        )


def main(argv: list[str] | None = None) -> int:
    """Run the study; return the exit code."""
    args = parse_args(argv)
    from mmaccel.cli.command import Command

    return Command().run(lambda _: execute(args))


if __name__ == '__main__':
    raise SystemExit(main())
