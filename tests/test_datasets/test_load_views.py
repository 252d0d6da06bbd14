"""Decoding, cropping and resizing in one, against upstream's transforms in turn."""

import io
import random

import cv2
import numpy as np
import pytest
import torch
from mmcv.transforms import LoadImageFromFile
from mmselfsup.datasets.transforms import MultiView, PackSelfSupInputs
from mmselfsup.datasets.transforms.processing import RandomResizedCrop
from PIL import Image
from scipy import stats
from torchvision import transforms as torchvision_transforms

from mmaccel.datasets import LoadViews, SeededDataset, UnlabelledFolder, load_views
from mmaccel.datasets.checked_image import UnreadableImageError
from mmaccel.datasets.load_views import jpeg_size
from tests.builders import photograph


def picture(*size, seed=0):
    return Image.fromarray(photograph(*size, seed=seed))


def write(path, image, kind='JPEG', **options):
    image.save(path, kind, **options)
    return str(path)


def crop(size=64, **kwargs):
    return dict(type='RandomResizedCrop', size=size, **kwargs)


def loaded(path, *crops, counts=1, seed=0, **kwargs):
    transform = LoadViews(counts, [[c] for c in crops], **kwargs)
    random.seed(seed)
    return transform(dict(img_path=path))


def upstreams(path, *crops, counts=1, seed=0, **kwargs):
    views = [[dict(c, type='mmselfsup.RandomResizedCrop')] for c in crops]
    random.seed(seed)
    results = LoadImageFromFile(**kwargs)(dict(img_path=path))
    counts = counts if isinstance(counts, int) else list(counts)
    return MultiView(views, counts)(results)


@pytest.mark.parametrize('kind', ['JPEG', 'PNG'])
@pytest.mark.parametrize('color_type', ['color', 'grayscale'])
@pytest.mark.parametrize(
    ('options', 'tolerance'),
    [
        (dict(backend='pillow'), 1),  # level, of rounding
        (dict(backend='pillow', interpolation='bicubic'), 1),
        (dict(backend='pillow', interpolation='lanczos'), 0),
        (dict(), 0),
    ],
)
def test_views_are_upstreams(tmp_path, kind, color_type, options, tolerance):
    path = write(tmp_path / 'image', picture(), kind)
    views = [crop(40, **options), crop((24, 30), scale=(0.05, 0.3), **options)]
    ours = loaded(
        path, *views, counts=[2, 2], color_type=color_type, reduce=False, seed=7
    )
    theirs = upstreams(path, *views, counts=[2, 2], color_type=color_type, seed=7)
    assert [x.shape for x in ours['img']] == [x.shape for x in theirs['img']]
    for x, y in zip(ours['img'], theirs['img']):
        assert x.dtype == np.uint8
        assert np.abs(x.astype(int) - y).max() <= tolerance
    packed = PackSelfSupInputs(meta_keys=['img_path'])(ours)
    expected = PackSelfSupInputs(meta_keys=['img_path'])(theirs)
    for x, y in zip(packed['inputs'], expected['inputs']):
        assert x.shape == y.shape and x.is_contiguous()
        assert (x.int() - y.int()).abs().max() <= tolerance


def test_an_array_is_taken_as_it_is():
    image = np.asarray(picture(28, 28))[..., 0]
    transform = LoadViews(2, [[crop(28, scale=(0.2, 1.0), backend='pillow')]])
    random.seed(1)
    ours = transform(dict(img=image))['img']
    upstream = RandomResizedCrop(28, scale=(0.2, 1.0), backend='pillow')
    random.seed(1)
    for x in ours:
        y = upstream(dict(img=image))['img']
        assert x.shape == (28, 28)
        assert np.abs(x.astype(int) - y).max() <= 1


@pytest.mark.parametrize('size', [(200, 300), (90, 400)])
@pytest.mark.parametrize('scale', [(0.2, 1.0), (0.05, 0.14)])
def test_boxes_are_distributed_as_torchvisions(size, scale):
    transform = LoadViews(1, [[crop(64, scale=scale)]])
    ours = np.array([transform.boxes(size)[0] for _ in range(2000)])
    reference = torchvision_transforms.RandomResizedCrop
    blank = torch.zeros(1, *size)
    theirs = np.array(
        [reference.get_params(blank, list(scale), [3 / 4, 4 / 3]) for _ in range(2000)]
    )
    top, left, height, width = theirs.T
    heights, widths = ours[:, 2] - ours[:, 0] + 1, ours[:, 3] - ours[:, 1] + 1
    assert (ours[:, :2] >= 0).all()
    assert (ours[:, 2] < size[0]).all() and (ours[:, 3] < size[1]).all()
    for x, y in (
        (heights * widths, height * width),
        (widths / heights, width / height),
        (ours[:, 0], top),
        (ours[:, 1], left),
    ):
        assert stats.ks_2samp(x, y).pvalue > 0.001


def test_views_are_never_enlarged_by_the_smaller_decoding(tmp_path, monkeypatch):
    path = write(tmp_path / 'image.jpg', picture(900, 640), quality=95)
    seen = []
    cut = load_views.cut

    def recording(image, box, transform):
        seen.append((image.shape[:2], box, transform.size))
        return cut(image, box, transform)

    monkeypatch.setattr(load_views, 'cut', recording)
    whole, divisors = (640, 900), set()
    views = [
        crop(128, scale=(0.1, 1.0), backend='pillow'),
        crop(32, scale=(0.1, 0.3), backend='pillow'),
    ]
    for seed in range(60):
        seen.clear()
        result = loaded(path, *views, counts=[2, 2], seed=seed)
        assert result['ori_shape'] == whole
        assert len(seen) == 4
        divisor = round(whole[0] / seen[0][0][0])
        divisors.add(divisor)
        random.seed(seed)
        transform = LoadViews([2, 2], [[v] for v in views])
        boxes = transform.boxes(whole)
        least = []
        for (_, reduced, size), box in zip(seen, boxes):
            height, width = box[2] - box[0] + 1, box[3] - box[1] + 1
            least.append(min(height / size[0], width / size[1]))
            if divisor > 1:
                # whole pixels of the crop, give or take the one it ends in
                assert reduced[2] - reduced[0] + 1 >= size[0]
                assert reduced[3] - reduced[1] + 1 >= size[1]
            for n in range(4):
                edge = n // 2  # the last pixels belong to the box
                assert abs(reduced[n] + edge - (box[n] + edge) / divisor) <= 1
        # the largest reduction that suffices
        assert divisor == max(n for n in (1, 2, 4, 8) if n <= max(min(least), 1))
    assert {1, 2, 4} <= divisors


def test_smaller_decoding_gives_close_views(tmp_path):
    path = write(tmp_path / 'image.jpg', picture(900, 640), quality=95)
    view = crop(64, scale=(0.4, 1.0), backend='pillow')
    differences, moved = [], []
    for seed in range(12):
        (ours,) = loaded(path, view, seed=seed)['img']
        (whole,) = loaded(path, view, seed=seed, reduce=False)['img']
        (other,) = loaded(path, view, seed=seed + 100, reduce=False)['img']
        assert not np.array_equal(ours, whole)
        differences.append(np.abs(ours.astype(int) - whole).mean())
        moved.append(np.abs(other.astype(int) - whole).mean())
    assert max(differences) < 5
    assert np.mean(differences) < 2.5 < np.mean(moved) / 4


def test_without_antialiasing_files_are_decoded_whole(tmp_path):
    path = write(tmp_path / 'image.jpg', picture(900, 640))
    views = [crop(64, scale=(0.4, 1.0)), crop(64, backend='pillow')]
    for x, y in zip(
        loaded(path, *views, counts=[1, 1])['img'],
        upstreams(path, *views, counts=[1, 1])['img'],
    ):
        assert np.abs(x.astype(int) - y).max() <= 1


@pytest.mark.parametrize('orientation', range(1, 9))
def test_turned_photographs(tmp_path, orientation):
    image = picture(320, 200)
    exif = image.getexif()
    exif[0x0112] = orientation
    path = write(tmp_path / 'image.jpg', image, exif=exif)
    data = (tmp_path / 'image.jpg').read_bytes()
    upright = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert jpeg_size(data) == upright.shape[:2]
    view = crop(32, scale=(1.0, 1.0), ratio=(0.5, 2.0), backend='pillow')
    result = loaded(path, view)
    assert result['ori_shape'] == upright.shape[:2]


def test_other_files_have_no_size_in_advance():
    buffer = io.BytesIO()
    picture(40, 30).save(buffer, 'PNG')
    assert jpeg_size(buffer.getvalue()) is None


def test_damaged_files_are_refused_or_left_out(tmp_path):
    whole = write(tmp_path / 'a.jpg', picture(640, 480))
    data = (tmp_path / 'a.jpg').read_bytes()
    for name, bad in (
        ('cut.jpg', data[: len(data) // 2]),
        ('empty.jpg', b''),
        ('text.jpg', b'not an image'),
        ('head.jpg', data[:30] + b'\xff\xd9'),
    ):
        path = tmp_path / name
        path.write_bytes(bad)
        with pytest.raises(UnreadableImageError) as caught:
            loaded(str(path), crop())
        assert caught.value.path == str(path)
        assert loaded(str(path), crop(), ignore_empty=True) is None
    assert loaded(whole, crop())['img'][0].shape == (64, 64, 3)


def test_a_damaged_image_is_replaced_and_told(tmp_path):
    for i in range(6):
        write(tmp_path / f'{i}.jpg', picture(200, 150, seed=i))
    data = (tmp_path / '2.jpg').read_bytes()
    (tmp_path / '2.jpg').write_bytes(data[: len(data) // 2])
    pipeline = [
        dict(type='LoadViews', num_views=2, transforms=[[crop(48, backend='pillow')]]),
        dict(type='PackSelfSupInputs', meta_keys=['img_path']),
    ]
    dataset = SeededDataset(UnlabelledFolder(str(tmp_path), pipeline=pipeline))
    dataset.set_seed(3)
    sample = dataset[dataset.stamp(0, 2)]
    assert [x.shape for x in sample['inputs']] == [(3, 48, 48)] * 2
    ((path, reason),) = sample['data_samples'].bad_samples
    assert path.endswith('2.jpg') and 'truncated' in reason
