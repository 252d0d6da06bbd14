"""Records of a study: one line of JSON per run, added and never changed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from filelock import FileLock

from mmaccel.fileio import write_atomically


def add_record(path: str | Path, record: dict) -> None:
    """Add a record; several threads and processes may do so at a time.

    Half a line, left by a process that was killed, is ended first.
    """
    line = json.dumps(record, sort_keys=True).encode() + b'\n'
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f'{path}.lock'), open(path, 'a+b') as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            if file.read() != b'\n':
                line = b'\n' + line
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def read_runs(*paths: str | Path) -> list[dict]:
    """The latest record of every run, in the order of their first.

    Failed runs are among them unless another try, before or after, succeeded: that of a
    finished run is a failure to evaluate it further. A file that does not exist holds
    none, and half a line is left out.
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


def change_keys(path: str | Path, keys: Mapping[str, str]) -> int:
    """Give the records of some runs other keys; return how many have changed.

    For configs that are written in other words and train the same: the key of a run
    depends on these words.

    Args:
        path (str or Path): The file, which is written anew.
        keys (Mapping[str, str]): Names of runs and their keys.
    """
    lines, changed = [], 0
    for line in Path(path).read_text(encoding='utf-8').splitlines():
        record = json.loads(line)
        key = keys.get(record['name'], record['key'])
        changed += key != record['key']
        lines.append(json.dumps({**record, 'key': key}, sort_keys=True) + '\n')
    write_atomically(path, ''.join(lines).encode())
    return changed
