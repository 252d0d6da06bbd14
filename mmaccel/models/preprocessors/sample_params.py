"""Parameters of the views' augmentations, sampled per image as upstream samples them.

Nothing is computed on pixels here. Probabilities and ranges are read from upstream's
own transforms, so that upstream interprets the config. The augmentations are those of
SimCLR (Chen et al., 2020, appendix A), and BYOL's solarisation (Grill et al., 2020,
appendix B).
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from mmcv.transforms import RandomApply, RandomFlip, RandomGrayscale
from mmengine.registry import TRANSFORMS
from torch import Generator, Tensor

from mmaccel import host
from mmaccel.errors import ConfigError

#: Transforms of mmcv that have a batched form.
_OF_MMCV = (RandomApply, RandomFlip, RandomGrayscale)
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


def sample_params(transforms: Sequence, number: int, rng: Generator) -> list[Step]:
    """Sample what a view's transforms do to each image of a batch.

    Args:
        transforms (Sequence): Upstream's transforms, in order.
        number (int): Images in the batch.
        rng (Generator): Of the CPU.

    Returns:
        list[Step]: In the order in which they are applied; an image may be in any of
        them. Steps without images are left out.
    """
    return _sample(transforms, torch.arange(number), rng)


def build_known(cfgs: Sequence[dict]) -> list:
    """Build upstream's transforms from their configs, in the current scope.

    Raises:
        ConfigError: If one is not registered or has no batched form, naming it.
    """
    pipeline = []
    for cfg in cfgs:
        try:
            pipeline.append(host.build(TRANSFORMS, cfg))
        except KeyError as error:
            raise ConfigError(
                f'fast_views finds no transform {cfg["type"]}: {error.args[0]}; '
                'remove it or set fast_views=False'
            ) from error
        check_known(pipeline[-1])
    return pipeline


def check_known(transform: Any) -> None:
    """Reject a transform that has no batched form.

    Raises:
        ConfigError: Naming the transform, or the setting of it.
    """
    kind, package = type(transform), host.current()
    known = {
        *_OF_MMCV,
        *(host.find(TRANSFORMS, name) for name in _of_host(package)),
    }
    if kind not in known:
        raise ConfigError(
            f'fast_views does not know the transform {kind.__name__} of '
            f'{kind.__module__.split(".")[0]} (it knows '
            f'{", ".join(sorted(k.__name__ for k in known))} of {package.name} and '
            'mmcv); remove it or set fast_views=False'
        )
    fits, wanted = True, ''
    if kind is RandomApply:
        for part in transform.transforms:
            check_known(part)
    elif kind is RandomFlip:
        fits = transform.direction == 'horizontal' and isinstance(transform.prob, float)
        wanted = "direction='horizontal' and one probability"
    elif kind is RandomGrayscale:
        fits = transform.keep_channels and transform.color_format == 'bgr'
        wanted = "keep_channels=True and color_format='bgr'"
    elif kind.__name__ == package.blur:
        fits, wanted = _has(host.blur_range, transform)
    elif kind.__name__ == package.solarize:
        fits, wanted = _has(host.solarize_threshold, transform)
    if not fits:
        raise ConfigError(
            f'fast_views knows {kind.__name__} only with {wanted}; set these or '
            'fast_views=False'
        )


def _of_host(package: host.Host) -> tuple[str, ...]:
    return 'ColorJitter', package.blur, package.solarize


def _has(read: Callable[[Any], Any], transform: Any) -> tuple[bool, str]:
    """Whether what is drawn for a transform can be told, else what it would take."""
    try:
        read(transform)
    except ValueError as error:
        return False, str(error)
    return True, ''


def _sample(transforms: Sequence, rows: Tensor, rng: Generator) -> list[Step]:
    steps = []
    for transform in transforms:
        kind = type(transform)
        if kind.__name__ == 'ColorJitter':
            steps += _sample_jitter(transform, rows, rng)
            continue
        some = rows[torch.rand(len(rows), generator=rng) < transform.prob]
        count = len(some)
        if kind is RandomApply:
            steps += _sample(list(transform.transforms), some, rng)
        elif kind is RandomGrayscale:
            weights = torch.tensor(transform.channel_weights, dtype=torch.float64)
            weights = (weights / weights.sum()).float()
            steps.append(Step('gray', some, weights.expand(count, -1)))
        elif 'Blur' in kind.__name__:
            sigma = _uniform(*host.blur_range(transform), count, rng)
            steps.append(Step('blur', some, sigma))
        elif 'Solarize' in kind.__name__:
            threshold = torch.full((count,), host.solarize_threshold(transform))
            steps.append(Step('solarize', some, threshold))
        else:
            steps.append(Step('flip', some, torch.ones(count)))
    return [step for step in steps if len(step.rows)]


def _sample_jitter(transform: Any, rows: Tensor, rng: Generator) -> list[Step]:
    number = len(rows)
    order = torch.rand(number, 4, generator=rng).argsort(dim=1)  # per image
    factors = {}
    for name in JITTER:
        bounds = getattr(transform, name)  # None: not jittered
        if bounds is not None:
            factors[name] = _uniform(bounds[0], bounds[1], number, rng)
    if 'hue' in factors:  # upstream cuts the shift to whole steps of 8 bits
        factors['hue'] = (factors['hue'] * 255).trunc() / 256
    steps = []
    for position in range(4):
        for operation, name in enumerate(JITTER):
            if name in factors:
                mine = (order[:, position] == operation).nonzero().flatten()
                steps.append(Step(name, rows[mine], factors[name][mine]))
    return steps


def _uniform(low: float, high: float, number: int, rng: Generator) -> Tensor:
    return torch.rand(number, generator=rng) * (high - low) + low
