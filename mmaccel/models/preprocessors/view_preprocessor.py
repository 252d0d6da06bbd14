"""Data preprocessor that augments the views in batches."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor

from mmaccel.errors import ConfigError
from mmaccel.seeding import VIEWS, derived_generator

from ..utils.views import same_size
from . import augment_cpu, augment_gpu
from .accel_data_preprocessor import AccelDataPreprocessor
from .sample_params import build_known, sample_params


@MODELS.register_module()
class ViewPreprocessor(AccelDataPreprocessor):
    """Upstream's preprocessor, with the augmentations that loader workers leave to it.

    Workers deliver crops in 8 bits (:class:`LoadViews`). Colour jitter, grey, blur,
    solarisation and flip are sampled for every image of every view from upstream's
    distributions, applied to the images that have them, and the result is normalised:
    with kornia on a GPU, with OpenCV on the CPU. Outside of training this is
    upstream's.

    Args:
        num_views (int or Sequence[int]): As upstream's ``MultiView``.
        transforms (Sequence[Sequence[dict]]): As upstream's ``MultiView``, less the
            crops.
        **kwargs: As for upstream's ``SelfSupDataPreprocessor``: ``mean``, ``std``,
            ``bgr_to_rgb``, ...

    Shape:
        ``data['inputs']``: one (N, C, H, W) per view, uint8, blue first
        returns: one (N, C, H, W) per view, float32

    Raises:
        ConfigError: If a transform has no batched form, or the batch has another number
            of views.

    Note:
        Each call takes one number from torch's global CPU generator, and samples
        everything from a generator seeded with it. Where :class:`StepSeedHook` seeds
        the iteration, views are a function of seed, iteration and rank, also in a
        resumed run.
    """

    def __init__(
        self,
        num_views: int | Sequence[int],
        transforms: Sequence[Sequence[dict]],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        counts = [num_views] if isinstance(num_views, int) else num_views
        self.pipelines: list[list] = []
        for count, cfgs in zip(counts, transforms, strict=True):
            self.pipelines += [build_known(cfgs)] * count

    def forward(self, data: dict, training: bool = False) -> Any:
        """Move to the device, augment when training, normalise."""
        if not training:
            return super().forward(data, training)
        cast: Any = self.cast_data(list(data.values()))
        inputs, data_samples = cast
        if len(inputs) != len(self.pipelines):
            raise ConfigError(
                f'the batch has {len(inputs)} views where the data preprocessor has '
                f'{len(self.pipelines)}; give the pipeline with MultiView and '
                'fast_views=True in one config'
            )
        return self.augment(inputs), data_samples

    @torch.no_grad()
    def augment(self, views: Sequence[Tensor]) -> list[Tensor]:
        """Augment and normalise views that are on the device.

        On a GPU views of one size are one batch.
        """
        generator = derived_generator(VIEWS, int(torch.randint(2**62, ())))
        sampled = [
            sample_params(transforms, len(view), generator)
            for view, transforms in zip(views, self.pipelines)
        ]
        if views[0].device.type == 'cpu':
            return [
                self._augmented(view, steps, augment_cpu.augment)
                for view, steps in zip(views, sampled)
            ]
        done: list[Tensor] = []
        for group in same_size(views):
            steps = [
                step._replace(rows=step.rows + number * len(views[0]))
                for number, view in enumerate(group)
                for step in sampled[view]
            ]
            together = torch.cat(list(views[group.start : group.stop]))
            together = self._augmented(together, steps, augment_gpu.augment)
            done += together.chunk(len(group))
        return done

    def _augmented(self, images: Tensor, steps: list, augment: Callable) -> Tensor:
        mean, std = self._statistics(images)
        if self._channel_conversion:
            return augment(images, steps, mean, std)
        # back to the order in which they came
        return augment(images, steps, mean.flip(0), std.flip(0)).flip(1)

    def _statistics(self, images: Tensor) -> tuple[Tensor, Tensor]:
        mean = torch.zeros(images.shape[1], 1, 1, device=images.device)
        std = torch.ones_like(mean)
        if self._enable_normalize:
            mean, std = mean + self.mean, std * self.std
        return mean, std
