import io

import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from PIL import Image

from mmaccel.datasets.checked_image import (
    LoadCheckedImage,
    UnreadableImageError,
    check_complete,
)

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
