"""Curves without overlap after a resume."""

from __future__ import annotations

import json
from pathlib import Path

from mmengine.hooks import Hook
from mmselfsup.registry import HOOKS

from ..checkpoints import write_atomically


@HOOKS.register_module()
class CurvesHook(Hook):
    """Cut ``scalars.json`` back to the iteration a run resumes from.

    The file is continued by a resumed run. What the killed run wrote behind its last
    checkpoint would stand there twice, and a line cut short by the kill would spoil the
    next one.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner) -> None:
        """Keep the whole lines up to the resumed iteration."""
        path = Path(runner.work_dir, 'vis_data', 'scalars.json')
        if runner.rank == 0 and runner.iter > 0 and path.is_file():
            lines = path.read_text().splitlines()
            kept = [line for line in lines if _step(line) <= runner.iter]
            if len(kept) < len(lines):
                write_atomically(path, ''.join(f'{line}\n' for line in kept).encode())


def _step(line: str) -> float:
    try:
        return json.loads(line).get('step', 0)
    except (ValueError, AttributeError):  # half a line
        return float('inf')
