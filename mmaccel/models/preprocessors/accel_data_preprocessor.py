"""Normalising views in few passes over memory."""

from typing import Any

import torch
from mmengine.model import ImgDataPreprocessor
from mmengine.registry import MODELS
from torch import Tensor

from mmaccel import host
from mmaccel.errors import ConfigError


@MODELS.register_module()
class AccelDataPreprocessor(ImgDataPreprocessor):
    """Upstream's ``SelfSupDataPreprocessor`` in fewer passes, without waiting.

    Channels are turned and laid out while they are bytes, and the first float is
    already centred. Values are upstream's, bit for bit. The host does not wait for the
    device: upstream indexes with a list, which is copied there. Accel models use it
    where ``data_preprocessor`` names no type.

    Args:
        non_blocking (bool): Whether copies of pinned images overlap with what the host
            does. Defaults to True.
        to_rgb (bool): MMPretrain's name of ``bgr_to_rgb``. Defaults to False.
        **kwargs: As upstream: ``mean``, ``std``, ``bgr_to_rgb``, ...

    Attributes:
        layout (torch.memory_format): Of the images. Defaults to contiguous.

    Shape:
        ``data['inputs']``: one (N, C, H, W) per view
        returns: one (N, C, H, W) per view, float32

    Raises:
        ConfigError: If the batch is none that ``default_collate`` makes of views.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, non_blocking: bool = True, to_rgb: bool = False, **kwargs: Any
    ) -> None:
        kwargs['bgr_to_rgb'] = kwargs.get('bgr_to_rgb', False) or to_rgb
        super().__init__(non_blocking=non_blocking, **kwargs)
        self.layout = torch.contiguous_format

    def forward(self, data: dict, training: bool = False) -> Any:
        """Move to the device and normalise.

        Returns:
            tuple[list[Tensor], list]: Views, and data samples where there are any.
        """
        if not isinstance(data, dict) or 'inputs' not in data:
            raise ConfigError(
                "the data loader's batches have no views (`inputs`); let its "
                'dataset.pipeline end with '
                f'{host.current().pack}, and set its '
                "collate_fn=dict(type='default_collate')"
            )
        cast: Any = self.cast_data(dict(data))
        inputs, data_samples = cast['inputs'], cast.get('data_samples')
        if isinstance(inputs, Tensor):  # MMPretrain packs one view as it is
            inputs = [inputs]
        if not all(isinstance(x, Tensor) and x.dim() == 4 for x in inputs):
            raise ConfigError(
                "the views in the data loader's batches are no batches of images; set "
                "its collate_fn=dict(type='default_collate'), and a dataset.pipeline "
                'with MultiView'
            )
        return [self.normalize(x) for x in inputs], data_samples

    def normalize(self, images: Tensor) -> Tensor:
        """Normalise images (N, C, H, W) that are on the device."""
        if self._channel_conversion:
            images = images.flip(1)
        images = images.contiguous(memory_format=self.layout)
        if not self._enable_normalize:
            return images.float()
        return (images - self.mean).div_(self.std)
