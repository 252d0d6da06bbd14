"""Parameters of the views' augmentations, sampled per image as upstream samples them.

Nothing is computed on pixels here. Probabilities and ranges are read from upstream's
own transforms, so that upstream interprets the config. The augmentations are those of
SimCLR (Chen et al., 2020, appendix A), and BYOL's solarisation (Grill et al., 2020,
appendix B).
"""

from collections.abc import Sequence
from functools import singledispatch
from typing import NamedTuple

import torch
from mmcv.transforms import RandomApply, RandomFlip, RandomGrayscale
from mmengine.registry import DefaultScope
from mmselfsup.datasets.transforms.processing import (
    ColorJitter,
    RandomGaussianBlur,
    RandomSolarize,
)
from mmselfsup.registry import TRANSFORMS
from torch import Tensor

from mmaccel.errors import ConfigError

#: Jitter operations in the order of upstream's numbering.
JITTER = ('brightness', 'contrast', 'saturation', 'hue')


class Step(NamedTuple):
    """One operation on some samples of a batch.

    Attributes:
        name (str): ``brightness``, ``contrast``, ``saturation``, ``hue``, ``gray``,
            ``blur``, ``solarize`` or ``flip``.
        rows (Tensor): Indices of the samples. Shape: (n,), int64.
        values (Tensor): One per sample: the factor of brightness, contrast or
            saturation, the shift of hue in turns, the weights of (B, G, R), the
            standard deviation in pixels, or the threshold. Shape: (n,) or (n, 3).
    """

    name: str
    rows: Tensor
    values: Tensor


def sample_params(
    transforms: Sequence, number: int, generator: torch.Generator
) -> list[Step]:
    """Sample what a view's transforms do to each image of a batch.

    Args:
        transforms (Sequence): Upstream's transforms, in order.
        number (int): Images in the batch.
        generator (torch.Generator): Of the CPU.

    Returns:
        list[Step]: In the order in which they are applied; an image may be in any of
        them. Steps without images are left out.
    """
    return _sample_all(transforms, torch.arange(number), generator)


def build_known(cfgs: Sequence[dict]) -> list:
    """Build upstream's transforms from their configs, in MMSelfSup's scope.

    Raises:
        ConfigError: If one is not registered or has no batched form, naming it.
    """
    pipeline = []
    with DefaultScope.overwrite_default_scope('mmselfsup'):
        for cfg in cfgs:
            try:
                pipeline.append(TRANSFORMS.build(cfg))
            except KeyError as error:
                raise ConfigError(
                    f'fast_views finds no transform {cfg["type"]}: {error.args[0]}; '
                    'remove it or set fast_views=False'
                ) from error
            check_known(pipeline[-1])
    return pipeline


def check_known(transform: object) -> None:
    """Reject a transform that has no batched form.

    Raises:
        ConfigError: Naming the transform, or the setting of it.
    """
    kind = type(transform)
    if kind not in _sample.registry:
        known = sorted(k.__name__ for k in _sample.registry if k is not object)
        raise ConfigError(
            f'fast_views does not know the transform {kind.__name__} of '
            f'{kind.__module__.split(".")[0]} (it knows {", ".join(known)} of '
            'mmselfsup and mmcv); remove it or set fast_views=False'
        )
    if isinstance(transform, RandomApply):
        for part in transform.transforms:
            check_known(part)
    if isinstance(transform, RandomFlip):
        fits = transform.direction == 'horizontal' and isinstance(transform.prob, float)
        wanted = "direction='horizontal' and one probability"
    elif isinstance(transform, RandomGrayscale):
        fits = transform.keep_channels and transform.color_format == 'bgr'
        wanted = "keep_channels=True and color_format='bgr'"
    else:
        return
    if not fits:
        raise ConfigError(
            f'fast_views knows {kind.__name__} only with {wanted}; set these or '
            'fast_views=False'
        )


def _sample_all(
    transforms: Sequence, rows: Tensor, generator: torch.Generator
) -> list[Step]:
    steps = [step for t in transforms for step in _sample(t, rows, generator)]
    return [step for step in steps if len(step.rows)]


@singledispatch
def _sample(transform: object, rows: Tensor, generator: torch.Generator) -> list[Step]:
    """Steps of one transform for the images ``rows``."""
    raise TypeError(type(transform))  # check_known has rejected it before


@_sample.register(RandomApply)
def _(transform: RandomApply, rows: Tensor, generator: torch.Generator) -> list[Step]:
    chosen = _some(rows, transform.prob, generator)
    return _sample_all(list(transform.transforms), chosen, generator)


@_sample.register(ColorJitter)
def _(transform: ColorJitter, rows: Tensor, generator: torch.Generator) -> list[Step]:
    number = len(rows)
    # an order of the four per image
    order = torch.rand(number, 4, generator=generator).argsort(dim=1)
    factors = {}
    for name in JITTER:
        bounds = getattr(transform, name)  # None: not jittered
        if bounds is not None:
            factors[name] = _uniform(bounds[0], bounds[1], number, generator)
    if 'hue' in factors:  # upstream cuts the shift to whole steps of 8 bits
        factors['hue'] = (factors['hue'] * 255).trunc() / 256
    steps = []
    for position in range(4):
        for operation, name in enumerate(JITTER):
            if name in factors:
                mine = (order[:, position] == operation).nonzero().flatten()
                steps.append(Step(name, rows[mine], factors[name][mine]))
    return steps


@_sample.register(RandomGrayscale)
def _(
    transform: RandomGrayscale, rows: Tensor, generator: torch.Generator
) -> list[Step]:
    chosen = _some(rows, transform.prob, generator)
    weights = torch.tensor(transform.channel_weights, dtype=torch.float64)
    weights = (weights / weights.sum()).float()
    return [Step('gray', chosen, weights.expand(len(chosen), -1))]


@_sample.register(RandomGaussianBlur)
def _(
    transform: RandomGaussianBlur, rows: Tensor, generator: torch.Generator
) -> list[Step]:
    chosen = _some(rows, transform.prob, generator)
    sigma = _uniform(transform.sigma_min, transform.sigma_max, len(chosen), generator)
    return [Step('blur', chosen, sigma)]


@_sample.register(RandomSolarize)
def _(
    transform: RandomSolarize, rows: Tensor, generator: torch.Generator
) -> list[Step]:
    chosen = _some(rows, transform.prob, generator)
    return [
        Step('solarize', chosen, torch.full((len(chosen),), float(transform.threshold)))
    ]


@_sample.register(RandomFlip)
def _(transform: RandomFlip, rows: Tensor, generator: torch.Generator) -> list[Step]:
    chosen = _some(rows, transform.prob, generator)
    return [Step('flip', chosen, torch.ones(len(chosen)))]


def _some(rows: Tensor, prob: float, generator: torch.Generator) -> Tensor:
    return rows[torch.rand(len(rows), generator=generator) < prob]


def _uniform(
    low: float, high: float, number: int, generator: torch.Generator
) -> Tensor:
    return torch.rand(number, generator=generator) * (high - low) + low
