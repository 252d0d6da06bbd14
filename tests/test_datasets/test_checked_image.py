import io
import warnings

import cv2
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from PIL import Image

from mmaccel.datasets import LoadViews
from mmaccel.datasets.checked_image import (
    LoadCheckedImage,
    UnreadableImageError,
    check_complete,
)
from mmaccel.errors import ConfigError

PICTURE = Image.fromarray(
    np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
).resize((120, 90), Image.BICUBIC)
FORMATS = [('JPEG', {}), ('JPEG', {'progressive': True}), ('PNG', {}), ('WEBP', {})]


def encoded(kind, picture=PICTURE, **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def load(path, **kwargs):
    return LoadCheckedImage(**kwargs).transform(dict(img_path=str(path)))


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP', 'BMP', 'PPM', 'TIFF'])
@pytest.mark.parametrize('color', ['color', 'grayscale', 'unchanged'])
def test_whole_file_gives_upstreams_pixels(tmp_path, kind, color):
    path = tmp_path / 'image'
    path.write_bytes(encoded(kind))
    expected = LoadImageFromFile(color_type=color)(dict(img_path=str(path)))
    result = load(path, color_type=color)
    assert result.keys() == expected.keys()
    assert np.array_equal(result['img'], expected['img'])
    assert result['img_shape'] == expected['img_shape'] == (90, 120)


@pytest.mark.parametrize(('kind', 'options'), FORMATS)
@pytest.mark.parametrize('share', [0.1, 0.5, 0.9, 0.999])
def test_truncated_file_is_refused_before_decoding(tmp_path, kind, options, share):
    whole = encoded(kind, **options)
    check_complete(whole)
    part = whole[: int(len(whole) * share)]
    with pytest.raises(ValueError, match='truncated'):
        check_complete(part)
    path = tmp_path / 'part.jpg'
    path.write_bytes(part)
    with pytest.raises(UnreadableImageError, match='truncated') as caught:
        load(path)
    assert caught.value.path == str(path)


@pytest.mark.parametrize(('kind', 'options'), FORMATS[:3])
def test_unwritten_tail_is_refused(kind, options):
    """A copy that reserved its space and died: the right size, zeros at the end."""
    whole = encoded(kind, **options)
    half = len(whole) // 2
    with pytest.raises(ValueError, match='truncated'):
        check_complete(whole[:half] + bytes(len(whole) - half))


def test_thumbnails_end_marker_is_not_the_images():
    thumbnail = encoded('JPEG', PICTURE.resize((16, 12)))
    segment = b'Exif\0\0' + thumbnail
    header = b'\xff\xe1' + (len(segment) + 2).to_bytes(2, 'big') + segment
    whole = encoded('JPEG')
    whole = whole[:2] + header + whole[2:]
    check_complete(whole)
    with pytest.raises(ValueError, match='end-of-image'):
        check_complete(whole[:-20])


@pytest.mark.parametrize('trailer', [b'\0' * 7, b'\n', b'camera data'])
def test_bytes_after_the_end_are_harmless(trailer):
    for kind, options in FORMATS:
        check_complete(encoded(kind, **options) + trailer)


@pytest.mark.parametrize(
    ('content', 'reason'), [(b'', 'empty'), (b'<html>not found</html>', 'not an image')]
)
def test_other_content_is_refused_with_a_reason(tmp_path, content, reason):
    path = tmp_path / 'x.jpg'
    path.write_bytes(content)
    with pytest.raises(UnreadableImageError, match=reason):
        load(path)
    assert load(path, ignore_empty=True) is None


def test_missing_file_and_folder_are_refused(tmp_path):
    with pytest.raises(UnreadableImageError, match='No such file'):
        load(tmp_path / 'none.jpg')
    with pytest.raises(UnreadableImageError, match='directory'):
        load(tmp_path)


def deep(dtype, white):
    """A ramp from 0 to ``white``, and what of it is shown in 8 bits."""
    ramp = np.linspace(0, white, 90 * 120).reshape(90, 120)
    shown = np.rint(255 * ramp.astype(dtype).astype(float) / white)
    return ramp.astype(dtype), np.repeat(shown[..., None], 3, axis=2)


@pytest.mark.parametrize(
    ('suffix', 'dtype', 'white'),
    [('.png', np.uint16, 4095), ('.tiff', np.uint16, 4095), ('.tiff', np.float32, 1)],
)
@pytest.mark.parametrize('kind', [LoadCheckedImage, LoadViews])
def test_deep_images_are_shown_from_black_to_white(
    tmp_path, suffix, dtype, white, kind
):
    path = tmp_path / f'deep{suffix}'
    pixels, shown = deep(dtype, white)
    cv2.imwrite(str(path), pixels)
    load = LoadCheckedImage if kind is LoadCheckedImage else views_of_the_whole
    image = load(value_range=(0, white))(dict(img_path=str(path)))['img']
    image = image[0] if isinstance(image, list) else image
    np.testing.assert_allclose(image, shown, atol=1)


def views_of_the_whole(**kwargs):
    crop = dict(
        type='RandomResizedCrop', size=(90, 120), scale=(1, 1), ratio=(4 / 3, 4 / 3)
    )
    return LoadViews(1, [[dict(crop, backend='pillow')]], **kwargs)


def test_images_of_32_bits_name_the_setting(tmp_path):
    path = tmp_path / 'deep.tiff'
    cv2.imwrite(str(path), deep(np.float32, 1)[0])
    with pytest.raises(UnreadableImageError, match='value_range') as caught:
        load(path)
    assert 'float32' in str(caught.value) and 'damaged' not in str(caught.value)


def test_12_bits_in_16_are_warned_of(tmp_path):
    path = tmp_path / 'deep.png'
    cv2.imwrite(str(path), deep(np.uint16, 4095)[0])
    with pytest.warns(UserWarning, match='value_range'):
        load(path)
    cv2.imwrite(str(path), deep(np.uint16, 65535)[0])
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        load(path)


@pytest.mark.parametrize('value_range', [(1, 0), (0, 0), (0, 1, 2)])
def test_a_range_rises(value_range):
    with pytest.raises(ConfigError, match='value_range'):
        LoadCheckedImage(value_range=value_range)
