"""SwAV's hook with the queue on the model's device and inside the checkpoint."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from mmengine.dist import all_gather, get_rank, get_world_size
from mmengine.hooks import CheckpointHook, Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn

_KEY = 'swav_queue'


class _Loss(Protocol):
    """What the hook uses of a ``SwAVLoss``."""

    queue: Tensor | None
    use_queue: bool

    def parameters(self) -> Iterator[nn.Parameter]: ...


class SavedQueue(Hook):
    """Build SwAV's queue, save it with the weights and restore it on resume.

    To be mixed in before a host's ``SwAVHook`` (:func:`with_saved_queue`). Arguments
    are upstream's; ``interval`` is unused, as nothing is written beside the
    checkpoints. A checkpoint has the queues of all processes, concatenated in rank
    order, under ``'swav_queue'``, and resumes on any number of processes for which
    upstream rounds ``queue_length`` to the same value. A run that does not resume
    starts with an empty queue.

    A model with one loss per exit (``AccelSwAV``) has one queue per exit.

    Shape:
        queue of a process: (losses, crops_for_assign, queue_length / world_size,
        feat_dim).

    Note:
        Gathers the queues of all processes at the end of an epoch, and after an
        iteration that an iteration-based ``CheckpointHook`` saves.
    """

    queue_length: int
    batch_size: int
    epoch_queue_starts: int
    crops_for_assign: Sequence[int]
    feat_dim: int
    queue: Tensor | None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._to_save: Tensor | None = None
        self._to_restore: Tensor | None = None

    def before_run(self, runner: Runner) -> None:
        """Round the queue to whole batches, as upstream does."""
        self.queue_length -= self.queue_length % self.batch_size

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep the checkpoint's queue until it is known whether this run resumes."""
        self._to_restore = checkpoint.get(_KEY)

    def before_train(self, runner: Runner) -> None:
        """Restore this process's part of the queue, on resume only."""
        saved, self._to_restore = self._to_restore, None
        self.queue = self._to_save = None
        if saved is None or runner.iter == 0:
            return
        if saved.shape != self._shape(runner, self.queue_length):
            runner.logger.warning(
                f'the checkpoint has a SwAV queue of shape {tuple(saved.shape)}, this '
                'run needs another one: it starts empty. Resume with the same '
                'queue_length and total batch size to keep it.'
            )
            return
        length = self.queue_length // get_world_size()
        start = get_rank() * length
        device = _device_of(_losses_of(runner)[0])
        self.queue = saved[:, :, start : start + length].to(device, copy=True)
        self._to_save = saved.cpu()

    def before_train_epoch(self, runner: Runner) -> None:
        """Hand the queue to the loss; build it first where it is due."""
        losses = _losses_of(runner)
        if (
            self.queue is None
            and self.queue_length > 0
            and runner.epoch >= self.epoch_queue_starts
        ):
            length = self.queue_length // get_world_size()
            shape = self._shape(runner, length)
            self.queue = torch.zeros(shape, device=_device_of(losses[0]))
        for i, loss in enumerate(losses):
            # a view: the loss fills the queue in place
            loss.queue = None if self.queue is None else self.queue[i]
            loss.use_queue = False  # the loss itself turns it on once it is full

    def after_train_iter(self, runner: Runner, *_: Any, **__: Any) -> None:
        """Gather the queue where a checkpoint follows this iteration."""
        if any(
            isinstance(hook, CheckpointHook)
            and not hook.by_epoch
            and (
                self.every_n_train_iters(runner, hook.interval)
                or self.is_last_train_iter(runner)
            )
            for hook in runner.hooks
        ):
            self._gather(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Gather the queue, before a checkpoint may be saved."""
        self._gather(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Put the queue into the checkpoint; called on the first process only."""
        if get_world_size() == 1:
            self._gather(runner)
        if self._to_save is not None:
            checkpoint[_KEY] = self._to_save

    def _shape(self, runner: Runner, length: int) -> tuple[int, ...]:
        crops = len(self.crops_for_assign)
        return (len(_losses_of(runner)), crops, length, self.feat_dim)

    def _gather(self, runner: Runner) -> None:
        if self.queue is not None:
            self._to_save = torch.cat(all_gather(self.queue), dim=2).cpu()


def with_saved_queue(upstream: type[Hook]) -> type[Hook]:
    """A host's ``SwAVHook`` whose queue is in the checkpoint."""
    return type('SwAVHook', (SavedQueue, upstream), {'__doc__': SavedQueue.__doc__})


def _losses_of(runner: Runner) -> list[_Loss]:
    model: Any = runner.model
    head = (model.module if is_model_wrapper(model) else model).head
    if hasattr(head, 'losses'):
        return list(head.losses)
    return [getattr(head, 'loss_module', None) or head.loss]


def _device_of(loss: _Loss) -> torch.device:
    return next(loss.parameters()).device
