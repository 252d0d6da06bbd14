"""Processes that end with the one that started them."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import IO


class Interrupted(Exception):
    """A process was told to end, by Ctrl-C for instance."""


class Children:
    """Runs processes, from several threads, and ends them together.

    Each leads a group of its own, so that those that it started, workers that load
    images for instance, end with it. Ctrl-C reaches none of them but by :meth:`stop`.

    Args:
        grace (float): Seconds between asking them to end and killing them, 0 or more.
            Defaults to 10.
    """

    def __init__(self, grace: float = 10) -> None:
        self._grace = grace
        self._lock = threading.Lock()
        self._running: list[subprocess.Popen] = []
        self._stopped = False

    def call(self, command: Sequence[str], stdout: IO, env: Mapping[str, str]) -> int:
        """Run a command to its end, both outputs in one file; return its exit code.

        Raises:
            Interrupted: If a signal or :meth:`stop` told it to end, or not to start.
        """
        with self._lock:
            if self._stopped:
                raise Interrupted
            process = subprocess.Popen(
                command,
                stdout=stdout,
                stderr=subprocess.STDOUT,
                env=env,
                start_new_session=True,
            )
            self._running.append(process)
        code = process.wait()
        with self._lock:
            self._running.remove(process)
            stopped = self._stopped
        if code and (stopped or -code in (signal.SIGINT, signal.SIGTERM)):
            raise Interrupted
        return code

    def stop(self) -> None:
        """End all that are running, and start no others."""
        with self._lock:
            self._stopped = True
            running = list(self._running)
        deadline = time.monotonic() + self._grace
        _signal_groups(running, signal.SIGTERM)
        try:
            for process in running:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(max(deadline - time.monotonic(), 0))
        finally:  # what outlived its leader, too, and all at once on another signal
            _signal_groups(running, signal.SIGKILL)


@contextmanager
def unwound_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise ``SystemExit``, where they would end the process.

    Note:
        It does nothing outside the main thread, where signals do not arrive, and
        leaves signals alone that are handled already or ignored, as by ``nohup``.
    """

    def leave(number: int, _: object) -> None:
        raise SystemExit(128 + number)  # as a shell reports it

    taken = []
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, leave)
                taken.append(number)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def _signal_groups(processes: Sequence[subprocess.Popen], number: int) -> None:
    for process in processes:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
