"""``mmcv.adjust_hue`` fails for every negative hue under numpy >= 2.

It relies on ``np.uint8(-12.7)`` wrapping around, which is an ``OverflowError`` in
numpy 2; colour jitter draws a negative hue half of the time.
"""

import functools
from collections.abc import Callable

import numpy as np

from mmaccel.compat._patch import replace_everywhere


def is_needed() -> bool:
    """Tell whether a negative hue raises."""
    from mmcv.image import photometric

    try:
        photometric.adjust_hue(np.zeros((1, 1, 3), np.uint8), -0.1, backend='cv2')
    except OverflowError:
        return True
    return False


def apply() -> None:
    """Put a function that wraps around explicitly in place of mmcv's."""
    from mmcv.image import photometric

    upstream = photometric.adjust_hue
    replace_everywhere('adjust_hue', upstream, _patched(upstream))


class _Hue(float):
    """A hue factor whose product with 255 is already wrapped to 8 bits.

    Upstream's checks, colour conversions and both backends stay as they are; only
    its ``np.uint8(hue_factor * 255)`` sees a number in range.
    """

    def __mul__(self, scale: float) -> int:
        return int(float(self) * scale) % 256  # truncated first, as a C cast does


def _patched(upstream: Callable) -> Callable:
    @functools.wraps(upstream)
    def adjust_hue(
        img: np.ndarray, hue_factor: float, backend: str | None = None
    ) -> np.ndarray:
        return upstream(img, _Hue(hue_factor), backend)

    return adjust_hue
