"""What the verbs share: options, settings, errors in one sentence, exit codes."""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any

from mmaccel.errors import ConfigError, TrainingStopped
from mmaccel.fileio import write_atomically
from mmaccel.hardware import process_rank

from .causes import cause_of

if TYPE_CHECKING:
    from mmengine.config import Config
    from mmengine.runner import Runner

_EXPECTED = (ConfigError, TrainingStopped)
#: Errors of data workers whose text says all.
_OURS = 'ConfigError|TrainingStopped|UnreadableImageError|ValueError'


def about(doc: str | None, examples: str) -> dict[str, Any]:
    """What a parser says of its command: a description and examples."""
    return dict(
        description=(doc or '').strip(),
        epilog=f'examples:\n{examples.rstrip()}',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def at_least(least: int) -> Callable[[str], int]:
    """Type of an option: a whole number that is not below ``least``."""

    def number(text: str) -> int:
        if int(text) < least:
            raise argparse.ArgumentTypeError(f'must be at least {least}, not {text}')
        return int(text)

    return number


def setting(text: str) -> str:
    """Type of ``--cfg-options``: ``KEY=VALUE`` whose brackets are balanced.

    The value is read once mmengine is there, see :func:`load`.
    """
    key, equals, value = text.partition('=')
    if not (key and equals):
        raise argparse.ArgumentTypeError(f'{text} is not KEY=VALUE')
    if any(value.count(left) != value.count(right) for left, right in ('()', '[]')):
        raise argparse.ArgumentTypeError(f'{text} has unbalanced brackets')
    return text


def load(args: argparse.Namespace) -> Config:
    """Read ``config`` and apply ``--cfg-options``, whose values MMEngine parses."""
    from mmengine.config import DictAction

    from mmaccel.engine.config import load_config

    parser = argparse.ArgumentParser()
    parser.add_argument('options', nargs='*', action=DictAction)
    given = parser.parse_args(['--', *map(_keep_spaces, args.cfg_options or ())])
    options = {key: _spaces_back(value) for key, value in given.options.items()}
    return load_config(args.config, options or None)


_SPACE = '\0'  # stands for a space while MMEngine, which deletes them, parses


def _keep_spaces(option: str) -> str:
    """Mark the spaces of a value, but for those beside commas and brackets."""
    key, _, value = option.partition('=')
    if ',' in value or value.startswith(('(', '[')):
        value = re.sub(r'\s*([][(),])\s*', r'\1', value)
    return f'{key}={value.strip().replace(" ", _SPACE)}'


def _spaces_back(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace(_SPACE, ' ')
    if isinstance(value, (list, tuple)):
        return type(value)(map(_spaces_back, value))
    return value


_SHARED: dict[str, dict[str, Any]] = {
    'config': dict(help='pretraining config'),
    'checkpoint': dict(help='checkpoint of its training'),
    '--baseline': dict(
        metavar='CONFIG',
        help="config to compare with; default: the config's `baseline`",
    ),
    '--batch-size': dict(type=at_least(2), metavar='N', help='default: %(default)s'),
    '--cfg-options': dict(
        nargs='+',
        type=setting,
        action='extend',
        metavar='KEY=VALUE',
        help='override settings, such as optim_wrapper.optimizer.lr=0.06; a list is '
        'key="[a,b]" or key=a,b',
    ),
    '--device': dict(help='torch device; default: cuda if there is one, else cpu'),
    '--json': dict(metavar='F', help='also write the figures to F'),
    '--launcher': dict(
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='what started the processes; the scripts of tools/ set it',
    ),
    '--layout': dict(
        choices=['config', 'contiguous', 'channels_last'],
        default='config',
        help="memory layout of weights and maps; default: the config's",
    ),
    '--precision': dict(
        choices=['fp32', 'bf16', 'fp16'],
        help='autocast in bf16, or in fp16 with loss scaling on CUDA; default: the '
        "config's",
    ),
    '--prefix': dict(
        default='backbone.',
        help="what the names of the backbone's weights start with; '' for those of a "
        'plain ResNet (default: %(default)s)',
    ),
    '--seed': dict(type=int, default=0, help='default: %(default)s'),
    '--size': dict(type=int, metavar='N', help='side of the largest views in pixels'),
    '--threads': dict(type=int, metavar='N', help='CPU threads'),
    '--work-dir': dict(
        metavar='D', help='folder for results; default: ./work_dirs/<config name>'
    ),
}


def shared(parser: argparse._ActionsContainer, *names: str, **changes: Any) -> None:
    """Add arguments that several verbs have, with what this one changes in them."""
    for name in names:
        parser.add_argument(name, **{**_SHARED[name], **changes})


def save(path: str | None, report: Any) -> None:
    """Write a verb's figures as JSON, where a file is named."""
    if path:
        text = json.dumps(report, indent=2, default=float)  # a tensor is a number
        write_atomically(path, f'{text}\n'.encode())


def exit_title(name: str) -> str:
    """What a table calls a variant of the step."""
    return f'exit {name}' if name.isdigit() else name.replace('_like', ', alike')


class Command:
    """Runs a command's body and turns expected errors into one line and exit code 1.

    Args:
        debug (bool): Whether to let errors through, with their traceback. Also set by
            the environment variable ``MMACCEL_DEBUG=1``.

    Attributes:
        cfg (Config, optional): To be set by the body once it is read: sentences then
            name the setting that an error comes from.
        runner (Runner, optional): To be set by the body once it is built. Before its
            first iteration an error comes from a setting or from what it names.
    """

    def __init__(self, debug: bool = False) -> None:
        self.debug = debug or os.environ.get('MMACCEL_DEBUG', '') not in ('', '0')
        self.cfg: Config | None = None
        self.runner: Runner | None = None
        self.lock: IO[str] | None = None  # of the work directory

    def run(self, body: Callable[[Command], int | None]) -> int:
        """Run the body; return its exit code, 0 by default."""
        try:
            return body(self) or 0
        except KeyboardInterrupt:
            if self.debug:
                raise
            self._tell('interrupted')
            return 130
        except Exception as error:
            if self.debug or not self._is_expected(error):
                raise
            _let_workers_die()
            self._tell(self._sentence(error))
            return getattr(error, 'exit_code', 1)

    def _is_expected(self, error: Exception) -> bool:
        if isinstance(error, _EXPECTED):
            return True
        return not self._started() or cause_of(error) is not None

    def _started(self) -> bool:
        loop = getattr(self.runner, '_train_loop', None)
        if loop is None or isinstance(loop, dict):
            return False
        return getattr(loop, 'iterations_run', loop.iter) > 0

    def _sentence(self, error: Exception) -> str:
        """What went wrong, on one line, and the setting it comes from."""
        text = None
        if self.cfg is not None and not isinstance(error, _EXPECTED):
            from mmaccel.engine.settings import explain

            text = explain(error, self.cfg)
        cause = None if isinstance(error, _EXPECTED) else cause_of(error)
        if cause is not None:
            text = f'{cause}. {_message(error)}'
        text = ' '.join((text or _message(error)).split())
        if not _raised_by_mmaccel(error):
            text += ' (MMACCEL_DEBUG=1 shows where)'
        return text

    def _tell(self, message: str) -> None:
        rank = process_rank()
        where = f'[rank {rank}] ' if rank else ''
        print(f'{where}error: {message}', file=sys.stderr, flush=True)
        record = logging.LogRecord(
            'mmaccel', logging.ERROR, __file__, 0, message, None, None
        )
        for handler in self.runner.logger.handlers if self.runner else ():
            if isinstance(handler, logging.FileHandler):  # the screen has it
                handler.handle(record)


def _let_workers_die() -> None:
    """Take back torch's handler, which raises wherever a dead worker is noticed."""
    in_main = threading.current_thread() is threading.main_thread()
    if in_main and hasattr(signal, 'SIGCHLD'):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def _message(error: Exception) -> str:
    """The error's text, without the traceback a data worker adds."""
    text = str(error)
    if 'Original Traceback' in text:
        last = text.strip().splitlines()[-1]
        return re.sub(rf'^([\w.]+\.)?({_OURS}): ', '', last)
    if isinstance(error, OSError) and error.strerror:
        return (
            f'{error.strerror}: {error.filename}' if error.filename else error.strerror
        )
    if isinstance(error, (*_EXPECTED, ValueError, OSError)) and text:
        return text
    return f'{type(error).__name__}: {text}' if text else type(error).__name__


def _raised_by_mmaccel(error: Exception) -> bool:
    """Whether the text is ours, and so says all there is to say."""
    if isinstance(error, _EXPECTED):
        return True
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    module = trace.tb_frame.f_globals.get('__name__', '') if trace else ''
    return module.partition('.')[0] == 'mmaccel'
