"""The type checker, as configured, knows tensors and MMEngine's runner."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: A line of a file, and nonsense to write before it.
NONSENSE = {
    'mmaccel/evaluation/knn.py': (
        'num_classes = int(bank_labels.max()) + 1',
        "bank.no_such_method(1) + 'text'",
    ),
    'mmaccel/engine/hooks/curves_hook.py': (
        "path = Path(runner.work_dir, 'vis_data', 'scalars.json')",
        'runner.no_such_method(1)',
    ),
}


def test_nonsense_is_found(tmp_path):
    options = []
    for i, (file, (line, nonsense)) in enumerate(NONSENSE.items()):
        text = (ROOT / file).read_text()
        assert line in text
        shadow = tmp_path / f'{i}.py'
        shadow.write_text(text.replace(line, f'{nonsense}; {line}'))
        options += ['--shadow-file', file, str(shadow)]
    done = subprocess.run(
        [sys.executable, '-m', 'mypy', *options, *NONSENSE],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    for file, owner in zip(NONSENSE, ('Tensor', 'Runner')):
        error = f'error: "{owner}" has no attribute "no_such_method"'
        assert any(x.startswith(file) and error in x for x in done.stdout.splitlines())
