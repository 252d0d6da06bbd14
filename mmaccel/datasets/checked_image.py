"""Load image files, and detect incomplete ones."""

from typing import Any

import mmcv
from mmcv.transforms import LoadImageFromFile
from mmengine import fileio
from mmselfsup.registry import TRANSFORMS

from mmaccel.fileio import check_complete


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
