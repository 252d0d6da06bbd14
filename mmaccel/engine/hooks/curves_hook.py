"""Curves without overlap after a resume."""

from __future__ import annotations

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

    The file is continued by a resumed run. What the killed run wrote behind its last
    checkpoint would stand there twice, and a line cut short by the kill would spoil the
    next one. Lines are told by their training time, which also holds where a run goes
    on with another number of iterations an epoch; by their iteration if they have none.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        """Keep the whole lines up to the resumed position."""
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
