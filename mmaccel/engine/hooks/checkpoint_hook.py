"""Checkpoints that survive a kill, a full disk and a wrong config."""

import errno
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, get_file_backend
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner
from mmselfsup.registry import HOOKS
from mmselfsup.utils import get_model

from mmaccel.errors import ConfigError, TrainingStopped
from mmaccel.fileio import remove_temporaries, write_atomically

from ..accumulation import pending_gradients, restore_gradients
from ..weights import MIN_MATCHED, mismatch, summary
from .throughput_hook import ThroughputHook


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """Upstream's checkpoint hook, without the ways to lose a run.

    Upstream opens the new file under its final name, so that a killed run leaves an
    incomplete checkpoint, and removes an old one before the new one is written. Here a
    checkpoint gets its name only once it is complete and on the disk, and old ones are
    removed last. Accumulated gradients are saved, too; weights that are not finite are
    never saved.

    Loading rejects a checkpoint of another architecture, which upstream only mentions
    in the log: resuming needs every name and shape to match, ``load_from`` 95 % of the
    model's names and every shape.

    Args:
        **kwargs: As upstream.

    Raises:
        ConfigError: On loading, if the checkpoint does not fit the model.
        TrainingStopped: On saving, if the disk is full or the weights are not finite;
            the previous checkpoint is intact.

    Note:
        Atomic writing needs a local file system; other backends work as upstream.
    """

    file_backend: Any  # mmengine declares fewer methods than every backend has

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._gradients: dict = {}

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Reject a checkpoint of another architecture."""
        own = get_model(runner.model).state_dict()
        found = mismatch(own, checkpoint.get('state_dict', checkpoint))
        if runner._resume:
            self._gradients = checkpoint.get('accumulated_gradients', {})
            fits = not any(found.values())
        else:
            share = 1 - len(found['missing']) / len(own)
            fits = share >= MIN_MATCHED and not found['shape']
        if not fits:
            raise ConfigError(_misfit(runner, found))

    def before_train(self, runner: Runner) -> None:
        """Prepare the folder, and restore a resumed run's accumulated gradients."""
        super().before_train(runner)
        if type(self.file_backend) is LocalBackend:
            self.backend_args = dict(backend='mmaccel_atomic')
            self.file_backend = get_file_backend(
                self.out_dir, backend_args=self.backend_args
            )
            if is_main_process():
                for folder in {self.out_dir, runner.work_dir}:
                    remove_temporaries(folder)
        if not getattr(runner.train_loop, 'moved', False):  # else of another update
            restore_gradients(runner, self._gradients)
        self._gradients = {}
        if runner._resume:
            self.last_ckpt = runner.message_hub.get_info('last_ckpt')

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the gradients that wait for their update."""
        if self._gradients:
            checkpoint['accumulated_gradients'] = self._gradients

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        """Save, then update ``last_checkpoint``, then remove the oldest."""
        with _clock_stopped(runner), self._explained(runner):
            _check_finite(runner)
            self._gradients = pending_gradients(runner)
            expired = self._keep(runner, step)
            filename = self.filename_tmpl.format(step)
            path = self.file_backend.join_path(self.out_dir, filename)
            runner.message_hub.update_info('last_ckpt', path)
            runner.save_checkpoint(
                self.out_dir,
                filename,
                self.file_client_args,
                save_optimizer=self.save_optimizer,
                save_param_scheduler=self.save_param_scheduler,
                meta=meta,
                by_epoch=self.by_epoch,
                backend_args=self.backend_args,
                **self.args,
            )
            self.last_ckpt = path
            self._gradients = {}
            if is_main_process():
                pointer = Path(runner.work_dir, 'last_checkpoint')
                write_atomically(pointer, path.encode())
        for old in expired:
            self._remove(self.filename_tmpl.format(old))

    def _keep(self, runner: Runner, step: int) -> list[int]:
        """Note that ``step`` is kept; return the steps to remove."""
        if self.max_keep_ckpts <= 0 or step in self.keep_ckpt_ids:
            return []
        expired = []
        if len(self.keep_ckpt_ids) == self.max_keep_ckpts:
            expired.append(self.keep_ckpt_ids.popleft())
        self.keep_ckpt_ids.append(step)
        runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        return expired

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        """Save a new best checkpoint, then remove the one it replaces."""
        if not self.save_best:
            return
        several = len(self.key_indicators) > 1
        before = dict(
            self.best_ckpt_path_dict if several else {'': self.best_ckpt_path}
        )
        # upstream removes what it knows of before it saves
        self._set_best(dict.fromkeys(before))
        with self._explained(runner):
            super()._save_best_checkpoint(runner, metrics)
        after = dict(self.best_ckpt_path_dict if several else {'': self.best_ckpt_path})
        self._set_best({key: path or before.get(key) for key, path in after.items()})
        for key, path in before.items():
            if path and after[key] and path != after[key]:
                self._remove(Path(path).name)

    def _set_best(self, paths: dict[str, str | None]) -> None:
        if len(self.key_indicators) > 1:
            self.best_ckpt_path_dict = paths
        else:
            self.best_ckpt_path = paths['']

    def _remove(self, filename: str) -> None:
        path = self.file_backend.join_path(self.out_dir, filename)
        if is_main_process() and self.file_backend.isfile(path):
            self.file_backend.remove(path)

    @contextmanager
    def _explained(self, runner: Runner) -> Iterator[None]:
        """Turn a failed save into an error that tells how to continue."""
        previous = self.last_ckpt
        try:
            yield
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            reason = 'the disk is full' if full else error.strerror or str(error)
            kept = (
                f'the previous one, {previous}, is intact'
                if previous
                else 'there is none before it'
            )
            raise TrainingStopped(
                f'the checkpoint at iteration {runner.iter + 1} could not be saved in '
                f'{self.out_dir}: {reason}; {kept}. '
                f'{"Free some space" if full else "Repair this"} and run the same '
                'command with --resume'
            ) from error


@contextmanager
def _clock_stopped(runner: Runner) -> Iterator[None]:
    """Saving does not count as training time."""
    with ExitStack() as stack:
        for hook in runner.hooks:
            if isinstance(hook, ThroughputHook):
                stack.enter_context(hook.stopped())
        yield


def _check_finite(runner: Runner) -> None:
    """Raise for weights that are not finite, one step before the loss is not."""
    for name, parameter in get_model(runner.model).named_parameters():
        if not torch.isfinite(parameter).all():
            last = runner.message_hub.get_info('last_ckpt')
            raise TrainingStopped(
                f'{name} is no longer finite at iteration {runner.iter + 1}, so no '
                f'checkpoint is saved; the last good one is {last or "(none)"}: lower '
                'the learning rate and resume from it'
            )


def _misfit(runner: Runner, found: dict[str, list[str]]) -> str:
    if runner._resume:
        remedy = 'resume with the config it was trained with'
    else:
        remedy = (
            'use the config it was trained with, or load a backbone alone with '
            '--pretrained'
        )
    return (
        f'the checkpoint {runner._load_from or runner.work_dir} has another '
        f'architecture than this model ({summary(found)}); {remedy}'
    )
