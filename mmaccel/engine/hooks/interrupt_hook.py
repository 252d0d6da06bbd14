"""A checkpoint and a clean end when a scheduler, or a user, sends a signal."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from mmengine.dist import is_distributed
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from mmaccel.errors import Interrupted

from ..checkpoints import INTERRUPTED

_SIGNALS = tuple(
    getattr(signal, name)
    for name in ('SIGTERM', 'SIGINT', 'SIGUSR1')
    if hasattr(signal, name)
)


@HOOKS.register_module()
class InterruptHook(Hook):
    """Save a checkpoint at the end of the step after SIGTERM, SIGINT or SIGUSR1.

    Schedulers send these before they take a machine away. The run then ends with exit
    code 128 + the signal's number, and ``--resume`` goes on where it stopped. A second
    signal ends the process at once.

    Several processes agree one step after the signal: each tells the others of its own
    in every step, over the CPU, and reads what they said in the step before. A signal
    to one of them stops all.

    Raises:
        Interrupted: At the end of the step.

    Note:
        Hears signals within :meth:`listen` alone, in which ``mmaccel train`` trains.
    """

    priority = 'LOWEST'

    def __init__(self) -> None:
        self._received = 0
        self._process = os.getpid()
        self._group: Any = None
        self._told: tuple[Any, torch.Tensor] | None = None

    @contextmanager
    def listen(self) -> Iterator[None]:
        """Note signals in the body, and restore their handlers after it."""
        before = {}
        if threading.current_thread() is threading.main_thread():
            before = {s: signal.signal(s, self._note) for s in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def before_train(self, runner: Runner) -> None:
        """Let the processes hear of each other's signals."""
        if is_distributed():
            self._group = dist.new_group(backend='gloo')

    def after_train_iter(self, runner: Runner, *_: Any, **__: Any) -> None:
        """Stop if a signal was received, by any process."""
        received = self._of_all()
        if not received:
            return
        path = self._save(runner)
        name = signal.Signals(received).name
        raise Interrupted(
            f'{name} was received: stopped after iteration {runner.iter + 1}, '
            + (
                f'saved as {path}. Run the same command with --resume to go on'
                if path
                else 'without a checkpoint, since default_hooks.checkpoint is off'
            ),
            received,
        )

    def after_train(self, runner: Runner) -> None:
        """Wait for what was told last."""
        if self._told is not None:
            self._told[0].wait()
            self._told = None

    def _note(self, received: int, frame: FrameType | None) -> None:
        signal.signal(received, signal.SIG_DFL)  # a second one ends at once
        if os.getpid() != self._process:  # a fork, such as a pool's, that is to end
            os.kill(os.getpid(), received)
            return
        self._received = received
        # printing, which may be what was interrupted, cannot be entered again
        os.write(2, b'Stopping after this step; a second signal ends at once.\n')

    def _of_all(self) -> int:
        """The signal that any process received, as all know it by now."""
        if self._group is None:
            return self._received
        agreed = 0
        if self._told is not None:
            work, number = self._told
            work.wait()
            agreed = int(number)
        number = torch.tensor(self._received)
        work = dist.all_reduce(number, dist.ReduceOp.MAX, self._group, async_op=True)
        self._told = work, number
        if agreed:
            work.wait()
        return agreed

    def _save(self, runner: Runner) -> str | None:
        for hook in runner.hooks:
            if hasattr(hook, 'save_now'):
                return hook.save_now(runner, INTERRUPTED.format(runner.iter + 1))
        return None
