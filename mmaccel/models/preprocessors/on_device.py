"""The views' augmentations in batches on an accelerator, computed by kornia."""

from __future__ import annotations

import math
from typing import Sequence

import torch
from torch import Tensor

from .draws import Step


def augment(images: Tensor, steps: Sequence[Step], mean: Tensor, std: Tensor) -> Tensor:
    """Apply steps to the samples that have them, then normalise.

    Nothing waits for the device: which samples a step has is known on the host.

    Args:
        images (Tensor): Blue, green and red, or grey, in 0..255.
        steps (Sequence[Step]): Drawn with :func:`draw_steps`.
        mean (Tensor): Of each channel, red first. Shape: (C, 1, 1).
        std (Tensor): Of each channel, red first. Shape: (C, 1, 1).

    Shape:
        images: (N, C, H, W), uint8
        returns: (N, C, H, W), float32, red first
    """
    images = images.flip(1).float().div_(255)
    rows = [step.rows for step in steps]
    everyone = torch.cat([*rows, torch.arange(0)])  # one copy to the device
    if images.is_cuda:
        everyone = everyone.pin_memory()
    everyone = everyone.to(images.device, non_blocking=True)
    with torch.autocast(images.device.type, enabled=False):  # 8 bits need float32
        for step, mine in zip(steps, everyone.split([len(r) for r in rows])):
            operation = getattr(_Operations, step.name)
            images.index_copy_(0, mine, operation(images[mine], step.values))
    return images.mul_(255).sub_(mean).div_(std)


class _Operations:
    """By name of the step; images in 0..1, red first, and a value a sample."""

    @staticmethod
    def brightness(images: Tensor, factors: Tensor) -> Tensor:
        from kornia.enhance import adjust_brightness_accumulative

        return adjust_brightness_accumulative(images, factors)

    @staticmethod
    def contrast(images: Tensor, factors: Tensor) -> Tensor:
        from kornia.enhance import adjust_contrast_with_mean_subtraction

        return adjust_contrast_with_mean_subtraction(images, factors)

    @staticmethod
    def saturation(images: Tensor, factors: Tensor) -> Tensor:
        from kornia.enhance.adjust import adjust_saturation_with_gray_subtraction

        return adjust_saturation_with_gray_subtraction(images, factors)

    @staticmethod
    def hue(images: Tensor, turns: Tensor) -> Tensor:
        from kornia.enhance import adjust_hue

        if images.shape[1] == 1:
            return images
        return adjust_hue(images, turns * 2 * math.pi)

    @staticmethod
    def gray(images: Tensor, weights: Tensor) -> Tensor:
        from kornia.color import rgb_to_grayscale

        if images.shape[1] == 1:
            return images
        return rgb_to_grayscale(images, weights[0].flip(0)).expand_as(images)

    @staticmethod
    def blur(images: Tensor, sigma: Tensor) -> Tensor:
        from kornia.filters import gaussian_blur2d

        size = 2 * math.ceil(3 * float(sigma.max())) + 1
        sigma = sigma[:, None].clamp(min=1e-3).expand(-1, 2)
        return gaussian_blur2d(images, size, sigma, border_type='replicate')

    @staticmethod
    def solarize(images: Tensor, thresholds: Tensor) -> Tensor:
        from kornia.enhance import solarize

        return solarize(images, thresholds / 255)

    @staticmethod
    def flip(images: Tensor, _: Tensor) -> Tensor:
        from kornia.geometry import hflip

        return hflip(images)
