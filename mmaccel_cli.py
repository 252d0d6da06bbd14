"""Entry point of the command `mmaccel`.

It stands outside the package because importing the package patches the installed stack
and registers every component, which takes seconds: the command reads its arguments
first.
"""

from __future__ import annotations

#: Whether this process is the command, which calls mmaccel's ``start()`` itself.
running = False


def main(argv: list[str] | None = None) -> int:
    """Run ``mmaccel`` with ``argv``, by default the command line's; the exit code."""
    global running
    running = True
    from mmaccel.cli import main

    return main(argv)
