"""Curves without overlap after a resume."""

import json
from pathlib import Path

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmselfsup.registry import HOOKS

from mmaccel.fileio import write_atomically

_TIME = 'train_seconds'


@HOOKS.register_module()
class CurvesHook(Hook):
    """Cut ``scalars.json`` back to where a run resumes from.

    A resumed run continues the file. Without this hook it would have twice what the
    killed run wrote after its last checkpoint, and an incomplete last line would spoil
    the next one. Lines are compared by their training time, which also works where the
    number of iterations per epoch has changed, or else by their iteration.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        """Keep the complete lines up to the resumed position."""
        path = Path(runner.work_dir, 'vis_data', 'scalars.json')
        if runner.rank == 0 and runner.iter > 0 and path.is_file():
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
