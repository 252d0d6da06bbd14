"""What the scripts of this folder share: mmaccel is found, and answers at once."""

from __future__ import annotations

import sys
from pathlib import Path

# last, so that an installed mmaccel comes first
sys.path.append(str(Path(__file__).resolve().parents[1]))

import mmaccel_cli

mmaccel_cli.running = True  # arguments are read before mmaccel starts


def run(verb: str) -> None:
    """Run a verb of the command `mmaccel` with the script's arguments."""
    sys.exit(mmaccel_cli.main([verb, *sys.argv[1:]]))
