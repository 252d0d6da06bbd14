"""The views' augmentations in batches on a GPU, in few kernels; colours by kornia.

Data flow: steps, as sampled, each on some images -> passes, each an operation on the
whole batch or on rows of it, in the order of every image's steps -> one block of
numbers that is copied to the device -> the passes.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache

import torch
from torch import Tensor

from ..utils.transfer import to_device
from .sample_params import Step

#: Operations that are a sum of the image, its grey and its mean grey, with the shares.
_LINEAR: dict[str, Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]] = {
    'brightness': lambda f: (f, torch.zeros_like(f), torch.zeros_like(f)),
    'saturation': lambda f: (f, 1 - f, torch.zeros_like(f)),
    'contrast': lambda f: (f, torch.zeros_like(f), 1 - f),
}
#: Jitter's four operations in any order: linear ones before and after the hue.
_JITTER = ('linear',) * 3 + ('hue',) + ('linear',) * 3


@dataclass
class Pass:
    """An operation on the rows that have it.

    Attributes:
        kind (str): ``linear``, or the name of a step.
        rows (list[Tensor]): Rows of the batch.
        values (list[Tensor]): (n, ...) for each of ``rows``.
    """

    kind: str
    rows: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)


def augment(images: Tensor, steps: Sequence[Step], mean: Tensor, std: Tensor) -> Tensor:
    """Apply steps to the samples that have them, then normalise.

    Arguments and result are those of :func:`augment_cpu.augment`. Nothing waits for the
    device: the host knows which samples a step has.
    """
    passes = in_passes(steps, len(images))
    images = images.flip(1).float().div_(255)
    blocks = [_numbers(one, len(images)) for one in passes]
    flat = [block.flatten() for parts in blocks for block in parts]
    numbers = to_device(torch.cat([*flat, torch.zeros(0)]), images.device)
    split = iter(numbers.split([len(x) for x in flat]))
    with torch.autocast(images.device.type, enabled=False):  # 8 bits need float32
        for one, (*_, values) in zip(passes, blocks):
            if one.kind == 'linear':
                shares = next(split).view(3, len(images), 1, 1, 1)
                images = _linear(images, *shares)
                continue
            rows, given = next(split).long(), next(split).view(values.shape)
            operation = _operations()[one.kind]
            images.index_copy_(0, rows, operation(images[rows], given))
    return images.mul_(255).sub_(mean).div_(std)


def in_passes(steps: Sequence[Step], number: int) -> list[Pass]:
    """Order steps into passes, so that each image meets its own in their order.

    Args:
        steps (Sequence[Step]): In the order in which they are applied.
        number (int): Images in the batch.
    """
    jittered = any(step.name == 'hue' for step in steps)
    passes: list[Pass] = []
    done = torch.full((number,), -1)  # the last pass of each image
    for step in steps:
        kind = 'linear' if step.name in _LINEAR else step.name
        values = step.values
        if kind == 'linear':
            values = torch.stack(_LINEAR[step.name](values), dim=1)
        left = torch.ones(len(step.rows), dtype=torch.bool)
        place = 0
        while left.any():
            if place == len(passes):
                jitter = jittered and kind in _JITTER
                passes += [Pass(name) for name in (_JITTER if jitter else (kind,))]
            if passes[place].kind == kind:
                now = left & (done[step.rows] < place)
                if now.any():
                    passes[place].rows.append(step.rows[now])
                    passes[place].values.append(values[now])
                    done[step.rows[now]] = place
                    left &= ~now
            place += 1
    return [one for one in passes if one.rows]


def _numbers(one: Pass, number: int) -> list[Tensor]:
    """What the device needs of a pass, in float32; row numbers are exact in it."""
    rows, values = torch.cat(one.rows), torch.cat(one.values).float()
    if one.kind == 'blur':
        values = _kernels(values)
    if one.kind != 'linear':
        return [rows.float(), values]
    shares = torch.tensor([1.0, 0.0, 0.0]).expand(number, 3).clone()
    shares[rows] = values
    return [shares.t()]


def _linear(images: Tensor, own: Tensor, gray: Tensor, mean: Tensor) -> Tensor:
    """Shares of images (N, C, H, W), of their grey and of their mean grey, in 0..1."""
    level = images[:, :1]
    if images.shape[1] == 3:
        red, green, blue = images.split(1, dim=1)
        level = torch.add(red * 0.299, green, alpha=0.587).add_(blue, alpha=0.114)
    average = level.mean((-2, -1), keepdim=True)
    mixed = torch.addcmul(images * own, level, gray).addcmul_(average, mean)
    return mixed.clamp_(0, 1)


def _kernels(sigma: Tensor) -> Tensor:
    """Gaussian kernels (n, side), wide enough for the largest deviation, in pixels."""
    from kornia.filters import get_gaussian_kernel1d

    side = 2 * math.ceil(3 * float(sigma.max())) + 1
    return get_gaussian_kernel1d(side, sigma[:, None].clamp(min=1e-3))


@cache
def _operations() -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    """By the step's name; images in 0..1, red first, and what each sample has."""
    from kornia import color, enhance, filters, geometry  # an extra

    def hue(images: Tensor, turns: Tensor) -> Tensor:
        if images.shape[1] == 1:
            return images
        return enhance.adjust_hue(images, turns * 2 * math.pi)

    def gray(images: Tensor, weights: Tensor) -> Tensor:
        if images.shape[1] == 1:
            return images
        return color.rgb_to_grayscale(images, weights[0].flip(0)).expand_as(images)

    def blur(images: Tensor, kernels: Tensor) -> Tensor:
        return filters.filter2d_separable(
            images, kernels, kernels, border_type='replicate'
        )

    return dict(
        hue=hue,
        gray=gray,
        blur=blur,
        solarize=lambda images, thresholds: enhance.solarize(images, thresholds / 255),
        flip=lambda images, _: geometry.hflip(images),
    )
