"""Checkpoints that survive a kill, a full disk and a wrong config."""

import errno
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, get_file_backend
from mmengine.hooks import CheckpointHook
from mmengine.logging import print_log
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from mmaccel.errors import ConfigError, TrainingStopped
from mmaccel.fileio import remove_temporaries
from mmaccel.models.unwrapped import unwrapped

from ..accumulation import pending_gradients, restore_gradients
from ..checkpoints import INTERRUPTED
from ..resumed_schedule import use_config_schedule
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
        """Reject a checkpoint of another architecture; apply a changed schedule."""
        own = unwrapped(runner.model).state_dict()
        found = mismatch(own, checkpoint.get('state_dict', checkpoint))
        if runner._resume:
            self._gradients = checkpoint.get('accumulated_gradients', {})
            fits = not any(found.values())
        else:
            share = 1 - len(found['missing']) / len(own)
            fits = share >= MIN_MATCHED and not found['shape']
        if not fits:
            raise ConfigError(_misfit(runner, found))
        if runner._resume:
            if 'optimizer' not in checkpoint:
                print_log(
                    'The checkpoint has no state of the optimizer: its averages, such '
                    'as momentum, begin anew',
                    logger='current',
                    level=logging.WARNING,
                )
            use_config_schedule(runner, checkpoint)

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
        _check_finite(runner)
        self._gradients = pending_gradients(runner)
        with self._saving(runner), ExitStack() as stack:
            for hook in runner.hooks:
                if isinstance(hook, ThroughputHook):  # saving is no training time
                    stack.enter_context(hook.stopped())
            super()._save_checkpoint_with_step(runner, step, meta)
        self._gradients = {}
        if is_main_process() and isinstance(self.file_backend, LocalBackend):
            for path in Path(self.out_dir).glob(INTERRUPTED.format('*')):
                path.unlink()  # older than what has just been saved

    def save_now(self, runner: Runner, filename: str) -> str:
        """Save the run after the present iteration, beside the regular checkpoints.

        Args:
            runner (Runner): The run, in ``after_train_iter``.
            filename (str): Name in the checkpoints' folder.

        Returns:
            str: The file's path. Only the main process writes it; all must call this.
        """
        _check_finite(runner)
        self._gradients = pending_gradients(runner)
        with self._saving(runner):
            runner.save_checkpoint(
                self.out_dir,
                filename,
                self.file_client_args,
                save_optimizer=True,
                save_param_scheduler=True,
                by_epoch=False,
                backend_args=self.backend_args,
            )
        self._gradients = {}
        return self.file_backend.join_path(self.out_dir, filename)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        with self._saving(runner):
            super()._save_best_checkpoint(runner, metrics)

    @contextmanager
    def _saving(self, runner: Runner) -> Iterator[None]:
        """Remove what upstream removes, but last; explain a failure to save."""
        previous = self.last_ckpt
        expired: list[str] = []
        try:
            with mock.patch.object(self.file_backend, 'remove', expired.append):
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
        info = runner.message_hub.runtime_info
        best = {value for name, value in info.items() if name.startswith('best_ckpt')}
        for path in set(expired) - best:
            if self._is_ours(path):
                self.file_backend.remove(path)

    def _is_ours(self, path: str) -> bool:
        """Whether a file is in our folder: a resumed checkpoint may name any."""
        if not isinstance(self.file_backend, LocalBackend):
            return path.startswith(self.out_dir)
        return Path(path).resolve().parent == Path(self.out_dir).resolve()


def _check_finite(runner: Runner) -> None:
    """Raise for weights that are not finite, one step before the loss is not."""
    for name, parameter in unwrapped(runner.model).named_parameters():
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
