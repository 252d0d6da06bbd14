"""The patched hue turn equals one computed here, for both signs and backends."""

import cv2
import mmcv
import numpy as np
import pytest
from PIL import Image


def turned(image, hue_factor, backend):
    """Turn the hue of a BGR image; what numpy 1 made of mmcv's own code."""
    shift = int(hue_factor * 255) % 256
    if backend == 'cv2':
        hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV_FULL).astype(int)
        hsv[..., 0] = (hsv[..., 0] + shift) % 256
        return cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2BGR_FULL)
    hsv = np.array(Image.fromarray(image[..., ::-1]).convert('HSV')).astype(int)
    hsv[..., 0] = (hsv[..., 0] + shift) % 256
    rgb = Image.fromarray(hsv.astype(np.uint8), mode='HSV').convert('RGB')
    return np.array(rgb)[..., ::-1]


@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
@pytest.mark.parametrize('hue_factor', [-0.5, -0.37, -0.05, -1e-3, 0.0, 0.2, 0.5])
def test_equals_a_plain_computation(backend, hue_factor):
    image = np.random.randint(0, 256, (9, 7, 3), np.uint8)

    result = mmcv.adjust_hue(image, hue_factor, backend=backend)

    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, turned(image, hue_factor, backend))


@pytest.mark.parametrize('hue_factor', [-0.51, 0.51])
def test_keeps_upstreams_range_check(hue_factor):
    with pytest.raises(ValueError, match='hue_factor'):
        mmcv.adjust_hue(np.zeros((2, 2, 3), np.uint8), hue_factor)
