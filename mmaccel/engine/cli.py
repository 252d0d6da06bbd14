"""What the commands share: errors in one sentence, and the run they belong to."""

from __future__ import annotations

import errno
import logging
import os
import re
import sys
from collections.abc import Callable

from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmaccel.errors import ConfigError, TrainingStopped

from .distributed import process_rank
from .weights import check_pretrained

_EXPECTED = (ConfigError, TrainingStopped)


def build_runner(cfg: Config) -> Runner:
    """Build the config's runner, MMEngine's unless ``runner_type`` names another.

    Raises:
        ConfigError: If the config is a training's and pretrained weights do not fit.
    """
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    if runner._train_loop is not None and runner._load_from is None:
        check_pretrained(runner.model)
    return runner


class Command:
    """Runs a command's body and turns expected errors into one line and exit code 1.

    Args:
        debug (bool): Whether to let errors through, with their traceback. Also set by
            the environment variable ``MMACCEL_DEBUG=1``.

    Attributes:
        runner (Runner, optional): To be set by the body once it is built. Before its
            first iteration a ``ValueError`` or ``FileNotFoundError`` comes from a
            setting and counts as expected.
    """

    def __init__(self, debug: bool = False) -> None:
        self.debug = debug or os.environ.get('MMACCEL_DEBUG', '') not in ('', '0')
        self.runner: Runner | None = None

    def run(self, body: Callable[[Command], None]) -> int:
        """Run the body; return the exit code."""
        try:
            body(self)
        except Exception as error:
            if self.debug or not self._is_expected(error):
                raise
            self._tell(_sentence(error))
            return 1
        return 0

    def _is_expected(self, error: Exception) -> bool:
        if isinstance(error, _EXPECTED):
            return True
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        return (
            isinstance(error, (ValueError, FileNotFoundError)) and not self._started()
        )

    def _started(self) -> bool:
        loop = getattr(self.runner, '_train_loop', None)
        if loop is None or isinstance(loop, dict):
            return False
        return getattr(loop, 'iterations_run', loop.iter) > 0

    def _tell(self, message: str) -> None:
        rank = process_rank()
        where = f'[rank {rank}] ' if rank else ''
        print(f'{where}error: {message}', file=sys.stderr, flush=True)
        if self.runner is not None and MMLogger.check_instance_created(
            self.runner.experiment_name
        ):
            record = logging.LogRecord(
                'mmaccel', logging.ERROR, __file__, 0, message, None, None
            )
            for handler in self.runner.logger.handlers:  # the screen has it
                if isinstance(handler, logging.FileHandler):
                    handler.handle(record)


def _sentence(error: Exception) -> str:
    """The error's text on one line, without the traceback a data worker adds."""
    text = str(error)
    if 'Original Traceback' in text:
        text = re.sub(r'^[\w.]+: ', '', text.strip().splitlines()[-1])
    if isinstance(error, OSError) and error.strerror:
        text = (
            f'{error.strerror}: {error.filename}' if error.filename else error.strerror
        )
    text = ' '.join(text.split())
    if not _raised_by_mmaccel(error):
        text += ' (MMACCEL_DEBUG=1 shows where)'
    return text


def _raised_by_mmaccel(error: Exception) -> bool:
    """Whether the text is ours, and so says all there is to say."""
    if isinstance(error, _EXPECTED):
        return True
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    module = trace.tb_frame.f_globals.get('__name__', '') if trace else ''
    return module.partition('.')[0] == 'mmaccel'
