"""Load image files, and detect incomplete ones."""

from __future__ import annotations

from typing import Any

import mmcv
from mmcv.transforms import LoadImageFromFile
from mmengine import fileio
from mmselfsup.registry import TRANSFORMS


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
        **kwargs: As for :class:`mmcv.transforms.LoadImageFromFile`.

    Raises:
        UnreadableImageError: With the file and what is wrong with it.
    """

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
        image = mmcv.imfrombytes(
            data, flag=self.color_type, backend=self.imdecode_backend
        )
        if image is None:
            raise ValueError('not an image, or damaged')
        return image

    def _read(self, path: str) -> bytes:
        if self.file_client_args is not None:
            client = fileio.FileClient.infer_client(self.file_client_args, path)
            return bytes(client.get(path))
        return bytes(fileio.get(path, backend_args=self.backend_args))


def check_complete(data: bytes) -> None:
    """Check that a JPEG, PNG or WebP file has its end.

    Takes microseconds: only markers are searched, pixels are not decoded.

    Args:
        data (bytes): The whole file.

    Raises:
        ValueError: Saying what is missing.
    """
    if not data:
        raise ValueError('the file is empty')
    if data.startswith(b'\xff\xd8'):
        # after the headers, where a thumbnail may have an end marker of its own
        if data.rfind(b'\xff\xd9', _start_of_scan(data)) < 0:
            raise ValueError(
                'the JPEG file is truncated: it has no end-of-image marker'
            )
    elif data.startswith(b'\x89PNG\r\n\x1a\n'):
        if data.rfind(b'IEND') < 0:
            raise ValueError('the PNG file is truncated: it has no IEND chunk')
    elif data.startswith(b'RIFF') and data[8:12] == b'WEBP':
        expected = 8 + int.from_bytes(data[4:8], 'little')
        if len(data) < expected:
            raise ValueError(
                f'the WebP file is truncated: it has {len(data)} of {expected} bytes'
            )


def _start_of_scan(data: bytes) -> int:
    """Offset at which a JPEG's headers end; by default the file's length."""
    offset = 2
    while offset + 4 <= len(data) and data[offset] == 0xFF:
        marker = data[offset + 1]
        if marker == 0xDA:  # start of scan
            return offset
        if marker == 0xFF:  # padding
            offset += 1
        else:
            offset += 2 + int.from_bytes(data[offset + 2 : offset + 4], 'big')
    return len(data)
