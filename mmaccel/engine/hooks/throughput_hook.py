"""The clock of training time."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner


@HOOKS.register_module()
class ThroughputHook(Hook):
    """Count the seconds spent training, evaluation excluded.

    Figure 3 of the paper plots accuracy against this time. The sum is in the message
    hub as the info ``train_seconds`` and is saved with the checkpoint, so a
    resumed run goes on counting.

    Args:
        clock (str): ``'wall'``, or ``'cpu'`` for the processor time of this process,
            which hardly depends on other load: for comparisons of trainings on a CPU;
            meaningless on a GPU. Defaults to ``'wall'``.

    Note:
        An epoch is timed from its start, the start of the data workers included, to the
        end of its last iteration. What hooks do between epochs (evaluation, saving) is
        not counted, nor what is done while the clock is :meth:`stopped`, such as saving
        a checkpoint within an epoch.
    """

    # after the iteration timer, before the logger and the checkpoint
    priority = 'NORMAL'

    def __init__(self, clock: str = 'wall') -> None:
        clocks = {'wall': time.perf_counter, 'cpu': time.process_time}
        if clock not in clocks:
            raise ValueError(f"clock={clock!r} is unknown; use 'wall' or 'cpu'")
        self._now = clocks[clock]
        self._mark = 0.0

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Do not count what is done in this context."""
        start = self._now()
        try:
            yield
        finally:
            self._mark += self._now() - start

    def before_train(self, runner: Runner) -> None:
        """Continue from the resumed sum."""
        seconds = runner.message_hub.get_info('train_seconds', 0.0)
        runner.message_hub.update_info('train_seconds', seconds)

    def before_train_epoch(self, runner: Runner) -> None:
        """Start the clock."""
        self._mark = self._now()

    def after_train_iter(self, runner: Runner, *_: Any, **__: Any) -> None:
        """Add the time since the last call."""
        now = self._now()
        seconds = runner.message_hub.get_info('train_seconds') + now - self._mark
        runner.message_hub.update_info('train_seconds', seconds)
        self._mark = now
