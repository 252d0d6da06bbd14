"""Train and judge the runs of a declared grid; one line of JSON a run."""

from __future__ import annotations

import argparse
import fnmatch
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
from mmaccel.study.grid import Run, read_grid
from mmaccel.study.records import read_records
from mmaccel.study.runner import Study

EXAMPLES = """
examples:
  # what the grid holds, and what of it is done
  python tools/study/run.py configs/study/grids/cpu.py --list

  # all of it on a machine with two cores, a process a core
  python tools/study/run.py configs/study/grids/cpu.py --jobs 2

  # three seeds of two methods, four processes on one GPU
  python tools/study/run.py configs/study/grids/gpu.py --jobs 4 \\
      --only 'mocov2/baseline-200e/*' 'mocov2/paper-200e/*'
"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('grid', help='such as configs/study/grids/cpu.py')
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
        default='docs/study/records.jsonl',
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
        help='processes at once: a core each, or on one GPU, where they take time from '
        'each other (default: %(default)s)',
    )
    parser.add_argument(
        '--retry', action='store_true', help='also repeat runs that failed'
    )
    parser.add_argument('--list', action='store_true', help='only print the runs')
    return parser.parse_args(argv)


def chosen(runs: list[Run], patterns: list[str] | None) -> list[Run]:
    """Runs whose name fits a pattern, all without one.

    Raises:
        ConfigError: If a pattern fits nothing.
    """
    if not patterns:
        return runs
    for pattern in patterns:
        if not any(fnmatch.fnmatch(run.name, pattern) for run in runs):
            raise ConfigError(f'no run is called {pattern}; --list shows their names')
    return [r for r in runs if any(fnmatch.fnmatch(r.name, p) for p in patterns)]


def check_distinct(runs: list[Run]) -> None:
    """Refuse two names for one run: of two records of it only the later would count."""
    names: dict[str, str] = {}
    for run in runs:
        other = names.setdefault(run.key, run.name)
        if other != run.name:
            raise ConfigError(
                f'{other} and {run.name} differ in nothing but their name; declare one '
                'of them'
            )


def check_names(runs: list[Run], done: dict[str, dict]) -> None:
    """Refuse a run that is recorded under another name, which the report would show."""
    for run in runs:
        name = done.get(run.key, {}).get('name', run.name)
        if name != run.name:
            raise ConfigError(
                f'{run.name} is recorded as {name}; rename it in the records, too, or '
                'remove the line to run it again'
            )


def check_images(data_root: str, runs: list[Run]) -> None:
    """Refuse a folder without the images that runs need, before each fails by it."""
    splits = ['train', *({'test'} & {s for run in runs for s in run.judge})]
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
    runs = chosen(read_grid(args.grid), args.only)
    check_distinct(runs)
    done = {record['key']: record for record in read_records(args.records)}
    check_names(runs, done)
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
    return Command().run(lambda _: execute(args))


if __name__ == '__main__':
    raise SystemExit(main())
