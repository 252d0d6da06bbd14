"""Records of a study: one line of JSON a run, added and never changed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from threading import Lock

_LOCK = Lock()


def add_record(path: str | Path, record: dict) -> None:
    """Add a record; one process with several threads may write at a time.

    Half a line, left by a process that was killed, is ended first.
    """
    line = json.dumps(record, sort_keys=True).encode() + b'\n'
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with _LOCK, open(path, 'a+b') as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            if file.read() != b'\n':
                line = b'\n' + line
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def read_records(*paths: str | Path) -> list[dict]:
    """The latest record of every run, in the order of their first.

    Failed runs are among them unless another try, before or after, succeeded: that of a
    finished run is a failure to judge it further. A file that does not exist holds
    none, and half a line is passed over.
    """
    records: dict[str, dict] = {}
    for path in paths:
        if not Path(path).is_file():
            continue
        for line in Path(path).read_text(encoding='utf-8').splitlines():
            try:
                record = json.loads(line)
            except json.JSONDecodeError:
                continue
            known = records.setdefault(record['key'], record)
            if record['status'] == 'ok' or known['status'] != 'ok':
                records[record['key']] = record
    return list(records.values())
