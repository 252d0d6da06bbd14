"""The loader workers' part of the views: decode, crop and resize, in 8 bits."""

import io
from collections.abc import Sequence
from typing import Any

import cv2
import mmcv
import numpy as np
import torch
from mmengine.registry import TRANSFORMS
from PIL import Image
from torch.nn import functional as F

from mmaccel import host

from .checked_image import LoadCheckedImage

#: Pixels of a crop: top, left, bottom and right, the last two included.
Box = tuple[int, int, int, int]

#: OpenCV's flags for a half, a quarter and an eighth of the size, by colour type.
_REDUCED = {
    kind: {n: getattr(cv2, f'IMREAD_REDUCED_{kind.upper()}_{n}') for n in (2, 4, 8)}
    for kind in ('color', 'grayscale')
}
_SMALL = 16384  # bytes; such a file is decoded as fast as its header is read
_ORIENTATION = 0x0112  # the EXIF tag
_NATIVE = ('bilinear', 'bicubic')  # of torch, in 8 bits and antialiased as Pillow


@TRANSFORMS.register_module()
class LoadViews(LoadCheckedImage):
    """Load an image and crop its views: ``LoadImageFromFile`` and the first transform
    of every pipeline in ``MultiView``, in one.

    Crop boxes are upstream's, sampled by upstream's function from the size in the
    file's header. A JPEG file is then decoded once for all views, to a half, a quarter
    or an eighth of its size where every crop still has at least as many pixels as its
    view and is resized with antialiasing (``backend='pillow'``). The pipelines' other
    transforms are left to the :class:`ViewPreprocessor`.

    Args:
        num_views (int or Sequence[int]): As upstream's ``MultiView``.
        transforms (Sequence[Sequence[dict]]): As upstream's ``MultiView``; each
            pipeline is one ``RandomResizedCrop``.
        reduce (bool): Whether to decode to a smaller size where that suffices.
            Defaults to True.
        **kwargs: As for :class:`mmcv.transforms.LoadImageFromFile`. Where the dataset
            gives the image as ``img``, nothing is loaded.

    Shape:
        ``results['img']``: one array of ``(H, W[, C])``, uint8, per view. Its memory
        layout is ``(C, H, W)``, as the packing transform needs it.

    Raises:
        UnreadableImageError: As :class:`LoadCheckedImage`.
    """

    def __init__(
        self,
        num_views: int | Sequence[int],
        transforms: Sequence[Sequence[dict]],
        reduce: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        counts = [num_views] if isinstance(num_views, int) else num_views
        self.crops: list[Any] = []  # of the host's RandomResizedCrop
        for count, (crop,) in zip(counts, transforms, strict=True):
            self.crops += [host.build(TRANSFORMS, crop)] * count
        # without antialiasing an image of half the size gives other views
        smooth = all(
            crop.backend == 'pillow' and crop.interpolation != 'nearest'
            for crop in self.crops
        )
        reduce = reduce and smooth and self.imdecode_backend == 'cv2'
        self._flags = _REDUCED.get(self.color_type, {}) if reduce else {}

    def transform(self, results: dict) -> dict | None:
        """Sample boxes, decode what they need, crop and resize."""
        if 'img' in results:
            image = results['img']
            size = image.shape[:2]
            boxes = self.boxes(size)
        else:
            loaded = self._load(results['img_path'])
            if loaded is None:
                return None
            image, boxes, size = loaded
        results['ori_shape'] = size
        results['img'] = [
            cut(image, fitted(box, size, image.shape[:2]), crop)
            for box, crop in zip(boxes, self.crops)
        ]
        results['img_shape'] = results['img'][0].shape[:2]
        return results

    def boxes(self, size: tuple[int, int]) -> list[Box]:
        """Sample the box of every view, in pixels of an image of (rows, columns)."""
        outline = np.broadcast_to(np.uint8(0), size)  # upstream asks for its shape
        return [host.crop_box(crop, outline) for crop in self.crops]

    def reduction(self, boxes: Sequence[Box]) -> int:
        """Return the divisor of rows and columns at which no view is enlarged."""
        least = min(
            min((bottom - top + 1) / rows, (right - left + 1) / columns)
            for (top, left, bottom, right), (rows, columns) in zip(
                boxes, map(host.crop_size, self.crops)
            )
        )
        return max((n for n in (1, *self._flags) if n <= least), default=1)

    def _decode(self, data: bytes) -> tuple[np.ndarray, list[Box], tuple[int, int]]:
        """Image, boxes, and the size of the image that the boxes are drawn for."""
        size = jpeg_size(data) if self._flags and len(data) > _SMALL else None
        boxes = self.boxes(size) if size else []
        divisor = self.reduction(boxes) if boxes else 1
        if size and divisor > 1:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), self._flags[divisor])
            if image is None:
                raise ValueError('not an image, or damaged')
            if image.shape[:2] == tuple(-(-n // divisor) for n in size):
                return image, boxes, size
        image = super()._decode(data)
        whole = image.shape[:2]
        return image, boxes if whole == size else self.boxes(whole), whole


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Rows and columns of a JPEG file in upright orientation; None if not known."""
    if not data.startswith(b'\xff\xd8'):
        return None
    try:
        with Image.open(io.BytesIO(data)) as header:  # reads no pixel
            width, height = header.size
            turned = b'Exif' in data and header.getexif().get(_ORIENTATION, 1) >= 5
    except Exception:  # the decoder will say what is wrong with the file
        return None
    return (width, height) if turned else (height, width)


def fitted(box: Box, size: tuple[int, int], decoded: tuple[int, int]) -> Box:
    """Box in the pixels of an image decoded to another size."""
    if tuple(size) == tuple(decoded):
        return box
    sides = []
    for first, last, whole, smaller in zip(box[:2], box[2:], size, decoded):
        scale = smaller / whole
        extent = max(round((last - first + 1) * scale), 1)
        start = min(round(first * scale), smaller - extent)
        sides.append((start, start + extent - 1))
    (top, bottom), (left, right) = sides
    return top, left, bottom, right


def cut(image: np.ndarray, box: Box, crop: Any) -> np.ndarray:
    """Crop and resize as upstream's ``RandomResizedCrop``.

    Pillow's antialiased filters are torch's, in 8 bits, at a quarter of the time and
    one grey level at most apart.
    """
    top, left, bottom, right = box
    image = image[top : bottom + 1, left : right + 1]
    if crop.backend == 'pillow' and crop.interpolation in _NATIVE:
        pixels = torch.from_numpy(image if image.ndim == 3 else image[..., None])
        view = F.interpolate(
            pixels.permute(2, 0, 1)[None],
            size=host.crop_size(crop),
            mode=crop.interpolation,
            antialias=True,
        )[0]
        resized = view.contiguous().permute(1, 2, 0).numpy()
        return resized if image.ndim == 3 else resized[..., 0]
    resized = mmcv.imresize(
        np.ascontiguousarray(image),
        host.crop_size(crop)[::-1],
        interpolation=crop.interpolation,
        backend=crop.backend,
    )
    if resized.ndim == 2:
        return resized
    return np.stack(cv2.split(resized)).transpose(1, 2, 0)
