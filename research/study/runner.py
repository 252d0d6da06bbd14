"""Trains and evaluates runs with the commands that users have."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from statistics import mean
from typing import Any

import mmengine
import torch
import torchvision
from filelock import FileLock, Timeout
from mmengine.config import Config

from mmaccel.engine.checkpoints import find_newest, is_whole
from mmaccel.engine.config_reader import dicts
from mmaccel.errors import ConfigError
from mmaccel.evaluation.curves import read_scalars
from mmaccel.fileio import write_atomically
from mmaccel.hardware import emulates_bf16, processor_abilities, processor_name
from mmaccel.version import __version__

from .children import Children, Interrupted, unwound_by_signals
from .grid import EVALUATION_SPLITS, Run
from .records import add_record, read_runs

_TOOLS = Path(__file__).resolve().parents[2] / 'tools'
_TRAIN = _TOOLS / 'train.py'
_CONFIG = 'run.json'
_TRAINING = 'training.json'
_ELAPSED = 'elapsed.json'
_LOCK = 'lock'
_PROBE = _TOOLS / 'benchmarks/classification/probe.py'
_WIDE_BF16 = Path(__file__).with_name('wide_bf16.py')
_SPREAD = _TOOLS / 'analysis_tools/measure_spread.py'

#: What a record has from training and evaluation; a later evaluation keeps it.
_MEASURED = (
    'jobs',
    'device',
    'abilities',
    'versions',
    'train_py_seconds',
    'curve',
    'step_ms',
    'data_ms',
    *EVALUATION_SPLITS,
    'spread',
)
_ERROR = re.compile(r'(\[rank \d+\] )?error: |[\w.]+(Error|Exception|Interrupt)(:|$)')
_FOLDERS = re.compile(r'(?<![\w.>/-])/(?:[^\s/:\'"]+/)*(?=[\w.])')


class StepFailed(Exception):
    """A command of a run ended with an error, which this holds."""


class Study:
    """Executes runs, several at once, and records each.

    A run is ``tools/train.py``, then ``tools/benchmarks/classification/probe.py`` on
    the splits that it names and, where it says so, ``measure_spread.py``. One that was
    interrupted goes on from its last checkpoint.

    Args:
        data_root (str): Folder with ``train/<class>/*`` and ``test/<class>/*``.
        work_dir (str): Folder for checkpoints and logs, one per run.
        records (str): File the records are added to.
    """

    def __init__(self, data_root: str, work_dir: str, records: str) -> None:
        self.data_root = data_root
        self.work_dir = Path(work_dir)
        self.records = records
        self._children = Children()

    def run_all(self, runs: Sequence[Run], jobs: int = 1) -> list[str]:
        """Execute runs in their order, ``jobs`` at once; return names of failed ones.

        On a CPU each has one thread, so that they do not disturb each other.

        Raises:
            ConfigError: If a run's work folder was begun on other images.
            KeyboardInterrupt: On Ctrl-C, with the commands of all runs ended.
            SystemExit: On SIGTERM or SIGHUP, likewise. No run of either is recorded.
        """
        jobs = max(jobs, 1)
        # reading configs is not for several threads
        configs = [run.build(self.data_root) for run in runs]
        for run, cfg in zip(runs, configs):
            self._check_images(run, cfg)
        with unwound_by_signals(), ThreadPoolExecutor(jobs) as pool:
            try:
                results = list(
                    pool.map(lambda run, cfg: self.run(run, cfg, jobs), runs, configs)
                )
            except (KeyboardInterrupt, SystemExit):
                self._children.stop()  # the pool waits for the runs' threads
                raise
        return [run.name for run, ok in zip(runs, results) if not ok]

    def run(self, run: Run, cfg: Config, jobs: int = 1) -> bool:
        """Execute one run and record it; tell whether it came to its end.

        Whatever goes wrong is recorded as well, since other runs wait for their turn.
        One that was interrupted, or that another process is at, has no record: it is
        still to do. One that is trained already is only evaluated where it was not yet.
        """
        folder = self._folder(run)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(folder / _LOCK, blocking=False):
                return self._run_alone(run, cfg, jobs, folder)
        except Timeout:
            print(f'busy    {run.name}: another process runs it', flush=True)
            return False

    def _run_alone(self, run: Run, cfg: Config, jobs: int, folder: Path) -> bool:
        records = {r['key']: r for r in read_runs(self.records)}
        earlier = records.get(run.key)
        if run.status(earlier) == 'ok':  # meanwhile, by another process
            return True
        trained = earlier if run.status(earlier) == 'trained' else None
        settings = mmengine.dump(cfg._cfg_dict.to_dict(), file_format='json')
        write_atomically(folder / _CONFIG, settings.encode())
        return self._run(run, jobs, folder, trained)

    def _check_images(self, run: Run, cfg: Config) -> None:
        """Reject a work folder whose training was on other images."""
        folder = self._folder(run)
        begun = _read(folder / _CONFIG) or {}
        # a training writes its config there, with its wrappers around the images
        earlier = _images(begun.get('train_dataloader'))
        if earlier is None or find_newest(folder)[0] is None:
            return
        if os.path.realpath(earlier) != os.path.realpath(
            _images(cfg.train_dataloader) or ''
        ):
            raise ConfigError(
                f'{folder} has a training on the images in {earlier}; give another '
                '--work-dir, or remove that folder'
            )

    def _run(
        self, run: Run, jobs: int, folder: Path, trained: Mapping[str, Any] | None
    ) -> bool:
        start = time.perf_counter()
        before = _read(folder / _ELAPSED) or (trained or {}).get('seconds_elapsed', 0)
        print(f'start   {run.name}', flush=True)
        record: dict[str, Any] = dict(
            key=run.key, name=run.name, run=asdict(run), jobs=jobs, **setting()
        )
        try:
            record.update(self._execute(run, jobs, folder, trained), status='ok')
        except Interrupted:
            print(f'stopped {run.name}', flush=True)
            return False
        except StepFailed as error:
            record.update(status='failed', error=self._without_places(str(error)))
        except Exception as error:
            reason = f'{type(error).__name__}: {_reason(str(error))}'
            record.update(status='failed', error=self._without_places(reason))
        finally:
            elapsed = round(before + time.perf_counter() - start, 1)
            (folder / _ELAPSED).write_text(json.dumps(elapsed))
        record['seconds_elapsed'] = elapsed
        add_record(self.records, record)
        print(
            f'{record["status"]:7} {run.name}',
            *record.get('curve', ())[-1:],
            flush=True,
        )
        return record['status'] == 'ok'

    def _execute(
        self, run: Run, jobs: int, folder: Path, trained: Mapping[str, Any] | None
    ) -> dict:
        """Train and evaluate what is not done yet; return what was measured.

        Raises:
            StepFailed: If a command ends with an error, or a run whose training is
                recorded has no checkpoint any more.
            Interrupted: If a signal told a command to end.
        """
        config = folder / _CONFIG
        log = folder / 'output.log'
        checkpoint = folder / f'epoch_{run.epochs}.pth'
        if is_whole(checkpoint) and not trained:
            print(f'reused  {run.name}: trained before in {folder}', flush=True)
        elif not is_whole(checkpoint):
            if trained:
                raise StepFailed(
                    f'{run.name} is recorded as trained, but its checkpoint is not in '
                    'the work folder to be evaluated; to train it again, remove its '
                    'line from the records'
                )
            self._train(run, jobs, folder, log)
        if trained:
            result = {name: trained[name] for name in _MEASURED if name in trained}
        else:
            result = dict(_read(folder / _TRAINING) or {}, **_curve(folder))
        probe = [_PROBE, config, checkpoint, '--k', 200, '--num-workers', 0]
        probe += ['--metrics', *run.probes, *_amp(run)]
        for split in run.evaluate_on:
            if run.is_evaluated(split, result):
                continue
            where = ['--work-dir', folder / split]
            if split == 'test':
                where += ['--data-root', self.data_root]
            self._call([*probe, *where], log)
            found = {
                name: json.loads((folder / split / name / 'result.json').read_text())
                for name in run.probes
            }
            result[split] = {
                **result.get(split, {}),
                **{name: value['metrics'] for name, value in found.items()},
            }
            shutil.rmtree(folder / split / 'features')
        if run.spread and 'spread' not in result:
            measured = folder / 'spread.json'
            self._call(
                [_SPREAD, config, checkpoint, '--num', 512, '--json', measured], log
            )
            result['spread'] = json.loads(measured.read_text())
        return result

    def _train(self, run: Run, jobs: int, folder: Path, log: Path) -> None:
        """Train to the end; note with what, and how long it took if in one go."""
        resumed = find_newest(folder)[0] is not None
        if not resumed:  # the log of a life that was lost whole
            shutil.rmtree(folder / 'vis_data', ignore_errors=True)
        start = time.perf_counter()
        command = [_TRAIN, folder / _CONFIG, '--work-dir', folder, '--seed', run.seed]
        self._call([*command, '--resume', *_amp(run)], log)
        seconds = None if resumed else round(time.perf_counter() - start, 1)
        note = dict(jobs=jobs, **setting(), train_py_seconds=seconds)
        (folder / _TRAINING).write_text(json.dumps(note))

    def _folder(self, run: Run) -> Path:
        return self.work_dir / f'{run.name}-{run.key}'

    def _call(self, command: list, log: Path) -> None:
        """Run a tool in a process of its own, its output added to a log.

        Raises:
            StepFailed: With the line that says why it ended.
            Interrupted: If a signal told it to end.
        """
        env = dict(os.environ)
        if not torch.cuda.is_available():
            env['OMP_NUM_THREADS'] = '1'
        with open(log, 'a+', encoding='utf-8', errors='replace') as file:
            before = file.seek(0, os.SEEK_END)
            words = [sys.executable, *map(str, _bearable(command))]
            code = self._children.call(words, stdout=file, env=env)
            if code:
                file.seek(before)
                raise StepFailed(
                    f'{Path(command[0]).name} ended with {code}: {_reason(file.read())}'
                )

    def _without_places(self, text: str) -> str:
        """A text that says nothing of where on this machine things are."""
        names = {}
        for place, name in (
            (self.work_dir, '<work-dir>'),
            (self.data_root, '<data-root>'),
        ):
            names.update({os.path.abspath(place): name, os.path.realpath(place): name})
        for path in sorted(names, key=len, reverse=True):  # one may hold the other
            text = re.sub(re.escape(path) + r'(?![\w-])', names[path], text)
        return _FOLDERS.sub('.../', text)


def _reason(output: str) -> str:
    """The line of a command's output that says why it ended."""
    lines = [line for line in output.splitlines() if line.strip()]
    errors = [line for line in lines[-50:] if _ERROR.match(line)]
    return (errors or lines or [''])[-1].strip()[:500]


def _images(loader: Any) -> str | None:
    """The folder of a loader's images, however deep its datasets are nested."""
    return next((d['data_root'] for d in dicts(loader) if 'data_root' in d), None)


def _amp(run: Run) -> list[str]:
    return ['--amp', run.amp] if run.amp else []


def _bearable(command: list) -> list:
    """A command as it takes a bearable time on this processor, too."""
    slow = 'bf16' in command and not torch.cuda.is_available() and emulates_bf16()
    return [_WIDE_BF16, *command] if slow else command


def setting() -> dict:
    """What times and results may depend on."""
    return dict(
        device=processor_name(),
        abilities=None if torch.cuda.is_available() else processor_abilities(),
        versions=dict(
            mmaccel=__version__,
            python=sys.version.split()[0],
            torch=torch.__version__,
            torchvision=torchvision.__version__,
        ),
    )


def _read(path: Path) -> Any:
    """A note left in a run's folder; None if a kill came before or in the middle."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def _curve(folder: Path) -> dict:
    """Accuracy and seconds by epoch, and what a step takes, from a run's log.

    A resumed run measures epochs again that it had lost; the later values count. Steps
    are averaged, since those of one phase may cost twice those of another.
    """
    records = read_scalars(folder)
    steps = [r for r in records if 'time' in r and 'loss' in r]
    curve = {
        r['epoch']: dict(
            epoch=r['epoch'],
            knn=round(r['knn_top1'], 2),
            seconds=round(r['train_seconds'], 2),
        )
        for r in records
        if 'knn_top1' in r
    }
    return dict(
        curve=list(curve.values()),
        step_ms=round(1000 * mean(r['time'] for r in steps), 2),
        data_ms=round(1000 * mean(r['data_time'] for r in steps), 2),
    )
