"""The views' augmentations on the CPU, computed by OpenCV in 8 bits.

An image fits into a core's cache and a batch does not, so each image goes through all
of its steps before the next one.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2
import mmcv
import numpy as np
import torch
from torch import Tensor

from .sample_params import Step

_LEVELS = np.arange(256, dtype=np.float32)


def augment(images: Tensor, steps: Sequence[Step], mean: Tensor, std: Tensor) -> Tensor:
    """Apply steps to the samples that have them, then normalise.

    Args:
        images (Tensor): In 0..255; blue, green, red, or grey.
        steps (Sequence[Step]): From :func:`sample_params`.
        mean (Tensor): Per channel, in levels of 255, red first.
        std (Tensor): Likewise.

    Shape:
        images: (N, C, H, W), uint8; mean, std: (C, 1, 1)
        returns: (N, C, H, W), float32, red first
    """
    plans: list[list] = [[] for _ in range(len(images))]
    for step in steps:
        operation = getattr(_Operations, step.name)
        for row, value in zip(step.rows.tolist(), step.values.numpy()):
            plans[row].append((operation, value))
    tables = list(((torch.arange(256.0) - mean) / std).flatten(1).numpy())
    out = torch.empty_like(images, dtype=torch.float32)
    sources, targets = images.numpy(), out.numpy()

    def finish(i: int) -> None:
        colours = len(sources[i]) > 1
        image = cv2.merge(sources[i][::-1]) if colours else sources[i][0]
        for operation, value in plans[i]:
            image = operation(image, value)
        planes = cv2.split(image) if colours else [image]
        for plane, table, target in zip(planes, tables, targets[i]):
            cv2.LUT(plane, table, target)

    threads = min(torch.get_num_threads(), len(images))
    if threads <= 1:
        list(map(finish, range(len(images))))
    else:
        with ThreadPoolExecutor(threads) as pool:  # OpenCV releases the interpreter
            list(pool.map(finish, range(len(images))))  # raises a thread's error
    return out


class _Operations:
    """By the step's name; an image of (H, W, 3), red first, or (H, W)."""

    @staticmethod
    def brightness(image: np.ndarray, factor: float) -> np.ndarray:
        return cv2.LUT(image, _cut(_LEVELS * factor))

    @staticmethod
    def contrast(image: np.ndarray, factor: float) -> np.ndarray:
        mean = int(cv2.mean(_luma(image))[0] + 0.5)
        return cv2.LUT(image, _cut(mean + factor * (_LEVELS - mean)))

    @staticmethod
    def saturation(image: np.ndarray, factor: float) -> np.ndarray:
        if image.ndim == 2:
            return image
        luma = cv2.cvtColor(_luma(image), cv2.COLOR_GRAY2RGB)
        # Pillow cuts fractions off where OpenCV rounds
        return cv2.addWeighted(image, factor, luma, 1 - factor, -0.5)

    @staticmethod
    def hue(image: np.ndarray, turns: float) -> np.ndarray:
        if image.ndim == 2:
            return image
        table = np.repeat(_LEVELS[:, None].astype(np.uint8), 3, axis=1)
        table[:, 0] += np.uint8(round(turns * 256) % 256)  # wraps around
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
        return cv2.cvtColor(cv2.LUT(hsv, table[None]), cv2.COLOR_HSV2RGB_FULL)

    @staticmethod
    def gray(image: np.ndarray, weights: np.ndarray) -> np.ndarray:
        if image.ndim == 2:
            return image
        row = np.append(weights[::-1], -0.5).astype(np.float32)[None]
        return cv2.cvtColor(cv2.transform(image, row), cv2.COLOR_GRAY2RGB)

    @staticmethod
    def blur(image: np.ndarray, sigma: float) -> np.ndarray:
        return cv2.GaussianBlur(
            image, (0, 0), float(sigma), borderType=cv2.BORDER_REPLICATE
        )

    @staticmethod
    def solarize(image: np.ndarray, threshold: float) -> np.ndarray:
        return cv2.LUT(image, mmcv.solarize(_LEVELS, thr=threshold).astype(np.uint8))

    @staticmethod
    def flip(image: np.ndarray, _: float) -> np.ndarray:
        return cv2.flip(image, 1)


def _luma(image: np.ndarray) -> np.ndarray:
    return image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def _cut(table: np.ndarray) -> np.ndarray:
    """Look-up table of 8 bits, fractions cut off as Pillow does."""
    return np.clip(table, 0, 255).astype(np.uint8)
