"""Hooks that watch a small run, or make it fail as real ones do."""

import errno
import json
import multiprocessing
import os
import signal
import time

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from mmaccel import fileio
from mmaccel.models.unwrapped import unwrapped


def kill():
    """End this process as the out-of-memory killer would."""
    os.kill(os.getpid(), signal.SIGKILL)


@HOOKS.register_module()
class TraceHook(Hook):
    """Write a line an iteration; die before one, or while the n-th save is written."""

    priority = 'LOWEST'

    def __init__(self, path, kill_at=None, kill_in_save=None):
        self.path = path
        self.kill_at = kill_at
        self.kill_in_save = kill_in_save

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.kill_at:
            kill()
        self.line = dict(
            iter=runner.iter,
            batch_idx=batch_idx,
            names=[os.path.basename(s.img_path) for s in data_batch['data_samples']],
            pixels=[
                int((x.long() * torch.arange(x.size(-1))).sum())
                for x in data_batch['inputs']
            ],
        )

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.line.update({name: float(value) for name, value in outputs.items()})
        exits = runner.message_hub.log_scalars.get('train/exit')
        if exits is not None:
            self.line['exit'] = int(exits.current())
        with open(self.path, 'a') as file:
            file.write(json.dumps(self.line) + '\n')

    def before_save_checkpoint(self, runner, checkpoint):
        if self.kill_in_save is not None:
            self.kill_in_save -= 1
            if self.kill_in_save == 0:
                fileio.os.fsync = lambda _: kill()


@HOOKS.register_module()
class FullDiskHook(Hook):
    """Fill the disk before the n-th save."""

    def __init__(self, save):
        self.save = save

    def before_save_checkpoint(self, runner, checkpoint):
        self.save -= 1
        if self.save == 0:
            fileio.open = _open_on_a_full_disk


def _open_on_a_full_disk(path, mode):
    class File:
        def __enter__(self):
            self.file = open(path, mode)
            return self

        def __exit__(self, *_):
            self.file.close()

        def write(self, data):
            self.file.write(data[:1000])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return File()


@HOOKS.register_module()
class SpoilHook(Hook):
    """Make a weight NaN: before an iteration, or after it and its loss."""

    def __init__(self, before=None, after=None):
        self.before = before
        self.after = after

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.before:
            self._spoil(runner)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == self.after:
            self._spoil(runner)

    def _spoil(self, runner):
        weight = next(unwrapped(runner.model).backbone.parameters())
        weight.data[0] = float('nan')


@HOOKS.register_module()
class SignalHook(Hook):
    """Send signals to this process, to a loader worker or to one rank, in a step."""

    def __init__(self, at, signals, worker=False, rank=None):
        self.at = at
        self.signals = signals
        self.worker = worker
        self.rank = rank

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter != self.at or self.rank not in (None, runner.rank):
            return
        target = os.getpid()
        if self.worker:
            target = multiprocessing.active_children()[0].pid
        for name in self.signals:
            os.kill(target, getattr(signal, name))


@HOOKS.register_module()
class SleepHook(Hook):
    """Make steps slow enough to be interrupted."""

    def __init__(self, seconds):
        self.seconds = seconds

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        time.sleep(self.seconds)
