"""Rules that settings must keep, asked before a run and again while it goes on."""

from __future__ import annotations

from typing import Sequence

from torch import Tensor, nn

from mmaccel.errors import ConfigError


def check_queue_len(queue_len: int, batch_size: int, processes: int = 1) -> None:
    """Reject a queue that whole batches do not fill evenly (upstream only asserts).

    Args:
        queue_len (int): Vectors in the queue.
        batch_size (int): Images per process.
        processes (int): Number of processes. Defaults to 1.

    Raises:
        ConfigError: Naming the nearest lengths that work.
    """
    total = batch_size * processes
    if queue_len % total:
        lower = queue_len // total * total
        values = ' or '.join(str(n) for n in (lower, lower + total) if n > 0)
        raise ConfigError(
            f'queue_len={queue_len} is not a multiple of the total batch {total} '
            f'({batch_size} images x {processes} process(es)); set '
            f'model.queue_len={values}'
        )


def check_views(
    views: Sequence[Tensor] | Tensor | int,
    needed: int,
    where: str = 'train_dataloader.dataset',
) -> None:
    """Reject a pipeline that gives another number of views than a method needs.

    Args:
        views (Sequence[Tensor] or Tensor or int): What the pipeline gives: a batch of
            each view, of a single one, or the number of views per image.
        needed (int): Views per image that the method takes.
        where (str): Option of the dataset. Defaults to the training's.

    Raises:
        ConfigError: Naming the transform to add.
    """
    if not isinstance(views, int):
        views = len(views) if isinstance(views, (list, tuple)) else 1
    if views != needed:
        raise ConfigError(
            f'the pipeline of {where} gives {views} view(s) per image but {needed} are '
            f"needed; use dict(type='MultiView', num_views={needed}, "
            'transforms=[...]) in it'
        )


def check_has_exits(model: nn.Module | type) -> None:
    """Reject a model, built or not, that ``PartialBackpropHook`` cannot drive.

    Raises:
        ConfigError: Naming the models that it can.
    """
    if getattr(model, 'num_exits', None) is None:
        kind = model if isinstance(model, type) else type(model)
        raise ConfigError(
            f'PartialBackpropHook needs an Accel model but model.type is '
            f"{kind.__name__}; use 'AccelMoCo', 'AccelSimCLR' or 'AccelSwAV', or "
            'remove the hook from custom_hooks'
        )
