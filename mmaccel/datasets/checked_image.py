"""Load image files, and detect incomplete ones."""

import warnings
from typing import Any

import cv2
import mmcv
import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmengine import fileio
from mmengine.registry import TRANSFORMS

from mmaccel.errors import ConfigError
from mmaccel.fileio import check_complete

_DARK = 1 << 12  # values of 16 bits below are almost black


class UnreadableImageError(OSError):
    """An image file that cannot be read, decoded, or is cut short.

    Args:
        path (str): The file.
        reason (str): What is wrong with it.
    """

    def __init__(self, path: str, reason: str = '') -> None:
        super().__init__(f'{path}: {reason}' if reason else path)
        self.path = path
        self.reason = reason


@TRANSFORMS.register_module()
class LoadCheckedImage(LoadImageFromFile):
    """Load an image as upstream's ``LoadImageFromFile``; incomplete files raise.

    Decoders may fill missing data with grey without an error, so that an interrupted
    download or copy trains the network on blank regions. Pixels of a complete file are
    upstream's.

    Args:
        value_range (tuple[float, float], optional): Values that are black and white in
            images of more than 8 bits; those beyond are clipped. ``(0, 4095)`` is for
            12-bit data in files of 16 bits. By default, as upstream's, the whole range
            of 16 bits; images of 32 bits, which have no such range, are then refused.
        **kwargs: As for :class:`mmcv.transforms.LoadImageFromFile`.

    Raises:
        ConfigError: If ``value_range`` is not two rising numbers.
        UnreadableImageError: With the file and what is wrong with it.

    Note:
        Warns of images of 16 bits that use 12 of them at most without a
        ``value_range``: they come out almost black.
    """

    def __init__(
        self, *args: Any, value_range: tuple[float, float] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        if value_range is not None and not (
            len(value_range) == 2 and value_range[0] < value_range[1]
        ):
            raise ConfigError(
                f'value_range={value_range!r} is not the values of black and white; '
                'give two rising numbers such as (0, 4095)'
            )
        self.value_range = value_range

    def transform(self, results: dict) -> dict | None:
        """Read, check and decode ``results['img_path']``."""
        image = self._load(results['img_path'])
        if image is None:
            return None
        if self.to_float32:
            image = image.astype('float32')
        results['img'] = image
        results['img_shape'] = results['ori_shape'] = image.shape[:2]
        return results

    def _load(self, path: str) -> Any:
        """Result of :meth:`_decode`; None if it fails and ``ignore_empty`` is set."""
        try:
            data = self._read(path)
            check_complete(data)
            return self._decode(data)
        except Exception as error:  # each decoder has its own
            if self.ignore_empty:
                return None
            reason = getattr(error, 'strerror', None) or ' '.join(str(error).split())
            raise UnreadableImageError(path, reason) from error

    def _decode(self, data: bytes) -> Any:
        if _may_be_deep(data):
            data = self._in_8_bits(data)
        image = mmcv.imfrombytes(
            data, flag=self.color_type, backend=self.imdecode_backend
        )
        if image is None:
            raise ValueError('not an image, or damaged')
        return image

    def _in_8_bits(self, data: bytes) -> bytes:
        """The same image in a file of 8 bits, where it needs ``value_range``."""
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        if pixels is None or pixels.dtype == np.uint8:
            return data
        if self.value_range is None:
            if pixels.dtype != np.uint16:
                raise ValueError(
                    f'its pixels are {pixels.dtype}, which has no black and white of '
                    'its own; set value_range=(black, white) in LoadCheckedImage'
                )
            if pixels.max() < _DARK:
                warnings.warn(
                    f'an image of 16 bits has no value above {pixels.max()} and comes '
                    'out almost black; for 12-bit data set value_range=(0, 4095) in '
                    'LoadCheckedImage',
                    stacklevel=2,
                )
            return data
        black, white = self.value_range
        share = np.nan_to_num((pixels.astype(np.float64) - black) / (white - black))
        scaled = np.rint(255 * share.clip(0, 1)).astype(np.uint8)
        return cv2.imencode('.png', scaled)[1].tobytes()

    def _read(self, path: str) -> bytes:
        if self.file_client_args is not None:
            client = fileio.FileClient.infer_client(self.file_client_args, path)
            return bytes(client.get(path))
        return bytes(fileio.get(path, backend_args=self.backend_args))


def _may_be_deep(data: bytes) -> bool:
    """Whether a file's header allows more than 8 bits a value."""
    if data.startswith(b'\x89PNG\r\n\x1a\n'):
        return data[24:25] == b'\x10'  # the header's bit depth
    return data.startswith((b'II*\0', b'MM\0*'))  # TIFF
