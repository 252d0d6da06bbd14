"""Curves of one run, without overlap after a resume."""

import json
from itertools import count
from pathlib import Path
from typing import Any

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from mmaccel.fileio import write_atomically

_TIME = 'train_seconds'


@HOOKS.register_module()
class CurvesHook(Hook):
    """Cut ``scalars.json`` back to where a run resumes from, or put it aside.

    A run that starts anew finds the file of another, which was killed before its first
    checkpoint, say: it is renamed ``scalars_1.json.old`` and so on. A resumed run
    continues the file. Without this hook it would have twice what the
    killed run wrote after its last checkpoint, and an incomplete last line would spoil
    the next one. Lines are compared by their training time, which also works where the
    number of iterations per epoch has changed, or else by their iteration.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        """Keep the complete lines up to the resumed position, or none."""
        path = Path(runner.work_dir, 'vis_data', 'scalars.json')
        processor: Any = getattr(runner, 'log_processor', None)
        if runner.iter > 0 and hasattr(processor, 'forget_resumed'):
            processor.forget_resumed(runner)
        if runner.rank > 0 or not path.is_file():
            return
        if runner.iter == 0:
            names = (path.with_name(f'scalars_{n}.json.old') for n in count(1))
            path.rename(next(name for name in names if not name.exists()))
        else:
            lines = path.read_text().splitlines()
            seconds = runner.message_hub.get_info(_TIME)
            kept = [line for line in lines if _is_before(line, runner.iter, seconds)]
            if len(kept) < len(lines):
                write_atomically(path, ''.join(f'{line}\n' for line in kept).encode())


def _is_before(line: str, iteration: int, seconds: float | None) -> bool:
    try:
        record = json.loads(line)
        if seconds is not None and _TIME in record:
            return record[_TIME] <= seconds
        return record.get('step', 0) <= iteration
    except (ValueError, AttributeError):  # half a line
        return False
