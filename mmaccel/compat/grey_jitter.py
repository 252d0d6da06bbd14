"""Colour transforms of the stack take images of three channels only.

``LoadImageFromFile(color_type='grayscale')`` gives one, and the hosts' ``ColorJitter``
and mmcv's ``RandomGrayscale`` then raise, the former with Pillow's "Invalid mode". Grey
has brightness and contrast to change; saturation and hue leave it as it is.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from mmaccel.host import installed


def _transforms() -> list[Any]:
    from mmcv.transforms import RandomGrayscale

    processing = [one.module('datasets.transforms.processing') for one in installed()]
    return [*(module.ColorJitter for module in processing), RandomGrayscale]


def is_needed() -> bool:
    """Tell whether one of them fails for a grey image."""
    *jitters, grayscale = _transforms()
    state = np.random.get_state()
    try:
        for transform in (*(jitter(0.4) for jitter in jitters), grayscale(1.0)):
            transform.transform({'img': np.zeros((2, 2), np.uint8)})
    except Exception:  # Pillow's or OpenCV's, by version
        return True
    finally:
        np.random.set_state(state)
    return False


def apply() -> None:
    """Hand them a grey image three times, and take one channel of what they give."""
    for kind in _transforms():
        kind.transform = _patched(kind.transform)


def _patched(upstream: Callable) -> Callable:
    @functools.wraps(upstream)
    def transform(self: Any, results: dict) -> dict:
        shape = results['img'].shape
        if len(shape) == 3 and shape[2] == 3:
            return upstream(self, results)
        grey = results['img'].reshape(*shape[:2], 1)
        results = upstream(self, dict(results, img=np.repeat(grey, 3, axis=2)))
        shown = results['img']  # of one channel without `keep_channels`
        results['img'] = shown.reshape(*shape[:2], -1)[..., 0].reshape(shape)
        return results

    return transform
