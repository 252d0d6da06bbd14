"""A folder of images as a dataset."""

import logging
import os
from collections.abc import Iterator, Sequence
from typing import Any

from mmengine.dataset import BaseDataset
from mmengine.logging import print_log
from mmengine.registry import DATASETS, TRANSFORMS

from mmaccel import host
from mmaccel.errors import ConfigError
from mmaccel.fileio import IMAGE_EXTENSIONS, unread_images


@DATASETS.register_module()
class UnlabelledFolder(BaseDataset):
    """Every image under a folder, at any depth, without annotations.

    Pretraining needs no labels; mmcls's ``CustomDataset`` needs one sub-folder per
    class. Files are sorted by name, so that all machines agree on their order; hidden
    files and folders are skipped, symbolic links are followed. ``gt_label`` is -1.

    Arguments are upstream's, so that ``--cfg-options
    train_dataloader.dataset.type=UnlabelledFolder
    train_dataloader.dataset.data_root=photos`` trains any recipe on a plain folder.

    Args:
        data_root (str): The folder. Defaults to ''.
        data_prefix (str or dict): Sub-folder to use, as upstream's
            ``dict(img_path='train/')``. Where ``data_root`` has no such sub-folder
            ``data_root`` itself is used, with a warning. Defaults to ''.
        ann_file (str): Accepted and ignored. Defaults to ''.
        split (str): The sub-folder where ``data_prefix`` names none, as with
            MMPretrain's ``ImageNet``. Defaults to ''.
        extensions (Sequence[str]): File names that count as images, upper or lower
            case.
        pipeline (Sequence): Transforms or their configs. Defaults to none.
        **kwargs: As for :class:`mmengine.dataset.BaseDataset`.

    Raises:
        ConfigError: If the folder does not exist or holds no image.
    """

    def __init__(
        self,
        data_root: str = '',
        data_prefix: str | dict = '',
        ann_file: str = '',
        split: str = '',
        extensions: Sequence[str] = IMAGE_EXTENSIONS,
        pipeline: Sequence = (),
        **kwargs: Any,
    ) -> None:
        if ann_file:
            print_log(f'UnlabelledFolder ignores ann_file={ann_file!r}', 'current')
        self.extensions = tuple(extension.lower() for extension in extensions)
        transforms = [
            host.build(TRANSFORMS, t) if isinstance(t, dict) else t for t in pipeline
        ]
        prefix = data_prefix or split
        if isinstance(prefix, str):
            prefix = dict(img_path=prefix)
        super().__init__(
            ann_file='',
            data_root=os.path.expanduser(data_root),
            data_prefix=prefix,
            pipeline=transforms,
            **kwargs,
        )

    def load_data_list(self) -> list[dict]:
        """Find the images."""
        folder = self._folder()
        paths = [path for path in _walk(folder) if self._is_image(path)]
        if not paths:
            raise ConfigError(
                f'there is no image under {folder} (looked for '
                f'{", ".join(self.extensions)}); set '
                'train_dataloader.dataset.data_root to a folder of images'
            )
        unread = unread_images(folder) if self.extensions == IMAGE_EXTENSIONS else {}
        if unread:
            endings = ', '.join(f'{n} {ending}' for ending, n in unread.items())
            print_log(
                f'{folder} has images that are not read ({endings}); convert them to '
                'train on them, too',
                'current',
                logging.WARNING,
            )
        return [dict(img_path=path, gt_label=-1) for path in paths]

    def _folder(self) -> str:
        folder = str(self.data_prefix.get('img_path') or self.data_root)
        if os.path.isdir(folder):
            return folder
        if self.data_root and os.path.isdir(self.data_root):
            print_log(
                f'There is no folder {folder}: using every image under '
                f'{self.data_root}',
                'current',
                logging.WARNING,
            )
            return str(self.data_root)
        missing = str(self.data_root or folder).rstrip('/') or '(none given)'
        raise ConfigError(
            f'the data folder {missing} does not exist; set '
            'train_dataloader.dataset.data_root to a folder of images'
        )

    def _is_image(self, path: str) -> bool:
        return path.lower().endswith(self.extensions)


def _walk(folder: str) -> Iterator[str]:
    """Visible files below a folder, sorted by name."""
    seen = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:  # a link back up
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith('.'))
        for name in sorted(files):
            if not name.startswith('.'):
                yield os.path.join(parent, name)
