"""Reading an image file, and telling when it is not whole."""

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
    """Load an image as upstream's ``LoadImageFromFile``, refusing incomplete files.

    A decoder can fill what is missing from a file with grey and say nothing, and a
    download that stopped short or a copy to a full disk then trains the network on
    blank regions. The pixels of a whole file are upstream's.

    Args:
        **kwargs: As for :class:`mmcv.transforms.LoadImageFromFile`.

    Raises:
        UnreadableImageError: Naming the file and what is wrong with it.
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
        """What :meth:`_decode` makes of a file; None if it fails and may."""
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
    """Refuse a JPEG, PNG or WebP file whose end is missing.

    Costs microseconds: only markers are looked at, the pixels are not decoded.

    Args:
        data (bytes): The whole file.

    Raises:
        ValueError: Saying what is missing.
    """
    if not data:
        raise ValueError('the file is empty')
    if data.startswith(b'\xff\xd8'):
        # behind the headers, where a thumbnail has an end marker of its own
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
    """Offset at which a JPEG's headers end, the length of the file if they do not."""
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
