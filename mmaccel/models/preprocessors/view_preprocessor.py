"""Data preprocessor that augments the views, a batch at once."""

from __future__ import annotations

from typing import Sequence

import torch
from mmselfsup.models.utils import SelfSupDataPreprocessor
from mmselfsup.registry import MODELS
from torch import Tensor

from mmaccel.errors import ConfigError
from mmaccel.seeding import VIEWS, derived_generator

from . import on_device, on_host
from .draws import build_known, draw_steps


@MODELS.register_module()
class ViewPreprocessor(SelfSupDataPreprocessor):
    """Upstream's preprocessor, with the augmentations that loader workers leave to it.

    Workers bring crops in 8 bits (:class:`LoadViews`). Colour jitter, grey, blur,
    solarisation and flip are drawn for every sample of every view from upstream's
    distributions, computed on the samples that have them, and normalised: with kornia
    on an accelerator, with OpenCV on the CPU. What is not training is upstream's.

    Args:
        num_views (int or Sequence[int]): As upstream's ``MultiView``.
        transforms (Sequence[Sequence[dict]]): As upstream's ``MultiView``, less the
            crops.
        **kwargs: As for upstream's ``SelfSupDataPreprocessor``: ``mean``, ``std``,
            ``bgr_to_rgb``, ...

    Shape:
        ``data['inputs']``: a list with (N, C, H, W), uint8, a view; blue first
        returns: a list with (N, C, H, W), float32, a view

    Raises:
        ConfigError: If a transform has no batched form, or the batch has another number
            of views.

    Note:
        Takes one number from torch's global CPU generator a call, and draws everything
        from a generator of its own. Where :class:`StepSeedHook` seeds the iteration,
        views are thereby a function of seed, iteration and rank, and those of a resumed
        run the same.
    """

    def __init__(
        self,
        num_views: int | Sequence[int],
        transforms: Sequence[Sequence[dict]],
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        counts = [num_views] if isinstance(num_views, int) else num_views
        self.pipelines: list[list] = []
        for count, cfgs in zip(counts, transforms):
            self.pipelines += [build_known(cfgs)] * count

    def forward(
        self, data: dict, training: bool = False
    ) -> tuple[list[Tensor], list | None]:
        """Move to the device, augment when training, normalise."""
        if not training:
            return super().forward(data, training)
        inputs, data_samples = self.cast_data(list(data.values()))
        if len(inputs) != len(self.pipelines):
            raise ConfigError(
                f'the batch has {len(inputs)} views where the data preprocessor has '
                f'{len(self.pipelines)}; give the pipeline with MultiView and '
                'fast_views=True in one config'
            )
        return self.augment(inputs), data_samples

    @torch.no_grad()
    def augment(self, views: Sequence[Tensor]) -> list[Tensor]:
        """Augment and normalise views that are on the device."""
        generator = derived_generator(VIEWS, int(torch.randint(2**62, ())))
        return [
            self._augmented(view, transforms, generator)
            for view, transforms in zip(views, self.pipelines)
        ]

    def _augmented(
        self, images: Tensor, transforms: list, generator: torch.Generator
    ) -> Tensor:
        steps = draw_steps(transforms, len(images), generator)
        mean = torch.zeros(images.shape[1], 1, 1, device=images.device)
        std = torch.ones_like(mean)
        if self._enable_normalize:
            mean, std = mean + self.mean, std * self.std
        on = on_host if images.device.type == 'cpu' else on_device
        if self._channel_conversion:
            return on.augment(images, steps, mean, std)
        # back to the order in which they came
        return on.augment(images, steps, mean.flip(0), std.flip(0)).flip(1)
