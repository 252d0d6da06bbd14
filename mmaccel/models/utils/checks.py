"""Rules that settings must keep, asked before a run and again while it goes on."""

import math
from collections.abc import Sequence

from torch import Tensor, nn

from mmaccel.errors import ConfigError

from .backbones import stage_channels

#: What is minimised: the loss at the exit, or the sum of those up to it.
LOSS_ON = ('exit', 'cumulative')


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


def check_pair(
    sizes: Sequence[tuple[int, int] | None], where: str = 'train_dataloader.dataset'
) -> None:
    """Reject views that are neither a pair nor a pair and small ones (multi-crop).

    Args:
        sizes (Sequence[tuple[int, int], optional]): Rows and columns of each view, in
            order; None where they are unknown.
        where (str): Option of the dataset. Defaults to the training's.

    Raises:
        ConfigError: Naming the transform to change.
    """
    if len(sizes) <= 2:
        check_views(len(sizes), 2, where)
    known = [size for size in sizes if size is not None]
    if len(sizes) <= 2 or len(known) < len(sizes):
        return
    first, second, *others = known
    if first != second or any(math.prod(x) >= math.prod(first) for x in others):
        shown = ', '.join(f'{rows}x{columns}' for rows, columns in known)
        raise ConfigError(
            f'the pipeline of {where} gives {len(known)} views per image, of {shown} '
            "px; use dict(type='MultiView', num_views=2, transforms=[...]), or "
            f'num_views=[2, {len(known) - 2}] with a smaller RandomResizedCrop in the '
            'second of two transforms (multi-crop)'
        )


def check_keeps_images(layer: type, user: str) -> None:
    """Reject a layer between stages that drops images where views run apart.

    Args:
        layer (type): Class of the layer.
        user (str): What cannot use it, for the message.

    Raises:
        ConfigError: Naming the layer that can be used.
    """
    if not hasattr(layer, 'crop_each'):
        raise ConfigError(
            f"{user} cannot use {layer.__name__}: an image's views go through the "
            "network apart; use crop_layer.type='HardPairCropLayer', or "
            'crop_layer=None'
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


def check_neck(neck: nn.Module, backbone: nn.Module) -> None:
    """Reject a neck that has no projector for each of a backbone's stages.

    Raises:
        ConfigError: Naming the setting of the neck to change.
    """
    channels = tuple(stage_channels(backbone))
    found = getattr(neck, 'in_channels', None)
    if not hasattr(neck, 'projectors'):
        raise ConfigError(
            'an Accel model needs one projector per exit; '
            "set model.neck.type='IntermediateNeck'"
        )
    if found != channels:
        raise ConfigError(
            f'the neck expects in_channels={found} but the stages '
            f'of this {type(backbone).__name__} give {channels}; '
            f'set model.neck.in_channels={channels}'
        )


def check_losses(loss_on: str, weights: Sequence[float], num_exits: int) -> None:
    """Reject an unknown choice of losses, and weights that are not one per exit.

    Raises:
        ConfigError: Naming the setting.
    """
    if loss_on not in LOSS_ON:
        raise ConfigError(f'loss_on={loss_on!r} is unknown; use {" or ".join(LOSS_ON)}')
    if len(weights) != num_exits:
        raise ConfigError(
            f'loss_weights has {len(weights)} values for {num_exits} exits; '
            'give one value per exit'
        )


def check_crop_stages(stages: Sequence[int], num_exits: int) -> None:
    """Reject windows after the last stage, which nothing follows.

    Raises:
        ConfigError: Naming the stage.
    """
    late = [stage for stage in stages if stage >= num_exits]
    if late:
        raise ConfigError(
            f'crop_layer.after_stages={tuple(stages)} has a window after stage '
            f'{late[0]}, the last of {num_exits}, where nothing follows that '
            f'could use it; use stages 1 to {num_exits - 1}'
        )


def check_num_blocks(num_blocks: int, total: int) -> None:
    """Reject a number of residual blocks that cannot be chosen without neighbours.

    Raises:
        ConfigError: Naming the largest number that can.
    """
    most = (total + 1) // 2
    if not 1 <= num_blocks <= most:
        raise ConfigError(
            f'num_blocks={num_blocks} residual blocks that are not adjacent '
            f'cannot be chosen from {total}; use 1 to {most}'
        )
