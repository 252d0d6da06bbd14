"""Bytes that ranks reduce in a step, and its milliseconds, wrapper beside wrapper."""

from __future__ import annotations

import argparse
import os
import socket
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.append(str(Path(__file__).resolve().parents[1] / 'tools'))
import _checkout  # noqa: F401, arguments are read before mmaccel starts

from mmaccel.cli.command import about, shared

EXAMPLES = """\
  python benchmarks/communication.py configs/accel/mocov2_r50_8xb32.py --size 64
  python benchmarks/communication.py configs/accel/simclr_r50_8xb32.py --ranks 8 \\
      --device cuda --batch-size 256
"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(**about(__doc__, EXAMPLES))
    parser.add_argument('config', help='accelerated config with a baseline')
    parser.add_argument('--ranks', type=int, default=2, help='processes; default: 2')
    parser.add_argument(
        '--device', choices=['cpu', 'cuda'], default='cpu', help='default: cpu'
    )
    parser.add_argument('--batch-size', type=int, default=8, help='default: 8')
    parser.add_argument('--rounds', type=int, default=5, help='default: 5')
    shared(parser, '--size', '--json')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Measure, print and save; return the exit code."""
    args = parse_args(argv)
    from torch.multiprocessing import spawn

    from benchmarks.wrappers import enter

    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        os.environ.update(
            MASTER_ADDR='127.0.0.1', MASTER_PORT=str(free.getsockname()[1])
        )
    spawn(enter, (args,), args.ranks)
    return 0


if __name__ == '__main__':
    sys.exit(main())
