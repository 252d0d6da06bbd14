"""The views' augmentations in batches on a GPU, computed by kornia."""

import math
from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor

from .sample_params import Step


def augment(images: Tensor, steps: Sequence[Step], mean: Tensor, std: Tensor) -> Tensor:
    """Apply steps to the samples that have them, then normalise.

    Arguments and result are those of :func:`augment_cpu.augment`. Nothing waits for the
    device: the host knows which samples a step has.
    """
    images = images.flip(1).float().div_(255)
    rows = [step.rows for step in steps]
    everyone = torch.cat([*rows, torch.arange(0)])  # one copy to the device
    if images.is_cuda:
        everyone = everyone.pin_memory()
    everyone = everyone.to(images.device, non_blocking=True)
    with torch.autocast(images.device.type, enabled=False):  # 8 bits need float32
        for step, mine in zip(steps, everyone.split([len(r) for r in rows])):
            operation = _operations()[step.name]
            images.index_copy_(0, mine, operation(images[mine], step.values))
    return images.mul_(255).sub_(mean).div_(std)


@cache
def _operations() -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    """By the step's name; images in 0..1, red first, and one value per sample."""
    from kornia import color, enhance, filters, geometry  # an extra

    def hue(images: Tensor, turns: Tensor) -> Tensor:
        if images.shape[1] == 1:
            return images
        return enhance.adjust_hue(images, turns * 2 * math.pi)

    def gray(images: Tensor, weights: Tensor) -> Tensor:
        if images.shape[1] == 1:
            return images
        return color.rgb_to_grayscale(images, weights[0].flip(0)).expand_as(images)

    def blur(images: Tensor, sigma: Tensor) -> Tensor:
        size = 2 * math.ceil(3 * float(sigma.max())) + 1
        sigma = sigma[:, None].clamp(min=1e-3).expand(-1, 2)
        return filters.gaussian_blur2d(images, size, sigma, border_type='replicate')

    return dict(
        brightness=enhance.adjust_brightness_accumulative,
        contrast=enhance.adjust_contrast_with_mean_subtraction,
        saturation=enhance.adjust.adjust_saturation_with_gray_subtraction,
        hue=hue,
        gray=gray,
        blur=blur,
        solarize=lambda images, thresholds: enhance.solarize(images, thresholds / 255),
        flip=lambda images, _: geometry.hflip(images),
    )
