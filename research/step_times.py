"""Time the steps of a grid's variants on a quiet machine; count their operations.

What an update may do, phase by phase of the schedule, is timed in turn with the plain
baseline's step, on one thread, in the precision of the runs, without loading. Let
nothing else run meanwhile. A command that was interrupted goes on where it was.
"""

from __future__ import annotations

import argparse
import fnmatch
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

EXAMPLES = """
examples:
  # times of all variants, by which the report gives speed-ups
  python research/step_times.py research/grids/cpu.py
  python research/step_times.py research/grids/equal.py

  # operations alone, which need no quiet machine
  python research/step_times.py research/grids/equal.py --operations
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
        '--only', nargs='+', metavar='PATTERN', help="variants, such as 'simclr/*'"
    )
    parser.add_argument(
        '--out',
        help='file that they are added to (default: research/step_times.json, or '
        'research/operations.json with --operations)',
    )
    parser.add_argument(
        '--rounds', type=int, default=20, help='timed rounds (default: %(default)s)'
    )
    parser.add_argument(
        '--operations', action='store_true', help='count operations and time nothing'
    )
    return parser.parse_args(argv)


def execute(args: argparse.Namespace) -> None:
    """Measure what is not in the file yet.

    Raises:
        ConfigError: If a pattern fits nothing, or the file is of another machine.
    """
    import torch

    from mmaccel.errors import ConfigError
    from research.study.grid import read_variants
    from research.study.step_costs import measure_variants

    if args.rounds < 1:
        raise ConfigError(f'--rounds must be at least 1, not {args.rounds}')
    variants = read_variants(args.grid)
    if args.only:
        variants = {
            name: runs
            for name, runs in variants.items()
            if any(fnmatch.fnmatch(name, pattern) for pattern in args.only)
        }
    if not variants:
        raise ConfigError(f'{args.grid} has no variant called {" or ".join(args.only)}')
    torch.set_num_threads(1)
    out = 'research/operations.json' if args.operations else 'research/step_times.json'
    rounds = 0 if args.operations else args.rounds
    if rounds and os.getloadavg()[0] > 0.5:
        print('warning: other processes keep this machine busy; times need a quiet one')
    measure_variants(variants, args.out or out, rounds)


def main(argv: list[str] | None = None) -> int:
    """Measure; return the exit code."""
    args = parse_args(argv)
    from mmaccel.cli.command import Command

    return Command().run(lambda _: execute(args))


if __name__ == '__main__':
    raise SystemExit(main())
