"""A model, its optimizer and one batch of images: a training step to be measured."""

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import HOOKS, MODELS, init_default_scope

from mmaccel import host
from mmaccel.engine.config_reader import hooks, image_channels, training_set, views
from mmaccel.errors import ConfigError
from mmaccel.models.plan import StepPlan

from .device import synchronize
from .memory import bytes_on_device
from .numerics import Numerics


def input_shapes(cfg: Config) -> list[tuple[int, int, int]]:
    """Channels, rows and columns of each view that a config's pipeline gives.

    Read from the ``MultiView`` transform and the crops in it.

    Raises:
        ValueError: If the training pipeline has no ``MultiView`` of crops.
    """
    channels = image_channels(cfg)
    found = views(training_set(cfg))
    shapes = [(channels, *v.size) for v in found if v.size for _ in range(v.number)]
    if not shapes or not all(v.size for v in found):
        raise ValueError(
            'the training pipeline has no MultiView of RandomResizedCrop, so the size '
            'of the views is unknown; give it with --size'
        )
    return shapes


class Variant(NamedTuple):
    """What an update may do and how often it does."""

    probability: float
    plan: StepPlan | None


class StepRunner:
    """Runs one training step of a config on synthetic images, exit by exit.

    The step is the user's own: data preprocessor, loss, backward pass, optimizer, as
    ``train_step`` runs them. Only the loading is left out.

    Args:
        cfg (Config): A pretraining config, accelerated or upstream's.
        batch_size (int): Images per step, on one device.
        size (int, optional): Side of the views, of the largest where they differ; the
            others keep their proportion to it. Defaults to the pipeline's.
        device (str): Torch device. Defaults to ``'cpu'``.
        numerics (Numerics, optional): Precision, layout and compilation. Defaults to
            the config's.

    Attributes:
        numerics (Numerics): The same, with nothing left open.
        variants (dict[str, Variant]): What an update may do, with its probability: by
            exit, or ``first-last`` where the gradient may end before the input; a
            sample of draws for ``skipping``; with what a schedule changes, such as
            ``'4 whole x0.5'``; one without a plan for an upstream model.
    """

    def __init__(
        self,
        cfg: Config,
        batch_size: int,
        size: int | None = None,
        device: str = 'cpu',
        numerics: Numerics | None = None,
    ) -> None:
        init_default_scope(host.default_scope(cfg))
        if not views(training_set(cfg)):
            raise ConfigError(
                f'{cfg.filename} is no pretraining config: its images have no views; '
                'name one such as configs/accel/mocov2_r50_8xb32.py'
            )
        torch.manual_seed(0)
        self.device = torch.device(device)
        self.batch_size = batch_size
        self.numerics = (numerics or Numerics()).resolve(cfg, self.device)
        model = MODELS.build(self.numerics.model_config(cfg))
        self.model: Any = self._move(revert_sync_batchnorm(model)).train()
        self.variants = _variants(cfg, self.model)
        with _quietly():
            self.optim_wrapper = build_optim_wrapper(
                self.model, self.numerics.optimizer_config(cfg)
            )
        self.numerics.apply(self.model)

        shapes = input_shapes(cfg) if size is None else _square_views(cfg, size)
        self.images = [
            self._move(torch.randint(256, (batch_size, *shape), dtype=torch.uint8))
            for shape in shapes
        ]
        self._steps = 0

    def _move(self, x: Any) -> Any:
        return x.to(self.device)

    def use(self, plan: StepPlan | None) -> None:
        """Set the plan of the next step; None leaves the model alone."""
        if plan is not None:
            self.model.plan = replace(plan, window_seed=(0, self._steps))
        self._steps += 1

    def data(self) -> dict:
        """Return the batch, as the loader would deliver it."""
        return dict(inputs=list(self.images), data_samples=[])

    def forward(self) -> torch.Tensor:
        """Return the loss of the batch, with its graph."""
        with self.optim_wrapper.optim_context(self.model):
            inputs, samples = host.prepared(
                self.model.data_preprocessor, self.data(), True
            )
            losses = self.model(inputs, samples, mode='loss')
        return self.model.parse_losses(losses)[0]

    def step(self, plan: StepPlan | None = None) -> None:
        """Run one whole training step and wait for the device."""
        self.use(plan)
        self.model.train_step(self.data(), self.optim_wrapper)
        self.synchronize()

    def synchronize(self) -> None:
        """Wait until the device has done what it was given."""
        synchronize(self.device)

    def resident_bytes(self) -> int:
        """Bytes held between steps: weights, buffers, optimizer state and images."""
        return bytes_on_device(self.model, self.optim_wrapper.optimizer, self.images)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without MMEngine's lines on the settings of single parameters."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def _square_views(cfg: Config, size: int) -> list[tuple[int, int, int]]:
    """The pipeline's views, or two, as squares; the largest have the given side."""
    try:
        shapes = input_shapes(cfg)
    except ValueError:
        shapes = [(image_channels(cfg), size, size)] * 2
    largest = max(max(rows, columns) for _, rows, columns in shapes)
    sides = [round(size * max(shape[1:]) / largest) for shape in shapes]
    return [(shape[0], side, side) for shape, side in zip(shapes, sides)]


def _variants(cfg: Config, model: Any) -> dict[str, Variant]:
    if not hasattr(model, 'num_exits'):
        return {'step': Variant(1.0, None)}
    found = next((dict(h) for _, h in hooks(cfg, 'PartialBackpropHook')), None)
    if found is None:
        return {str(model.num_exits): Variant(1.0, StepPlan(model.num_exits))}
    hook = HOOKS.build(found)
    hook.check_model(model)
    named: dict[str, Variant] = {}
    for number, (probability, plan) in enumerate(hook.distribution(model), 1):
        name = str(plan.exit_stage)
        if hook.update_scheme == 'nearby_block' or plan.first_stage > 1:
            name = f'{plan.first_stage}-{plan.exit_stage}'
        elif hook.update_scheme == 'skipping':
            name = f'draw {number}'
        if len(hook.schedule) > 1:  # an exit may differ from stage to stage
            name += ' folded' if plan.folded_stages else ''
            name += '' if plan.windows else ' whole'
            name += '' if plan.view_scale == 1 else f' x{_scale(plan)}'
            name += '' if plan.loss_on is None else f' {plan.loss_on}'
            probability += named.get(name, Variant(0.0, plan)).probability
        named[name] = Variant(probability, plan)
    return named


def _scale(plan: StepPlan) -> str:
    """Such as ``'0.5'``, or ``'0.667/1'`` where two views differ."""
    first, second = plan.scale_of(0), plan.scale_of(1)
    return f'{first:.3g}' if first == second else f'{first:.3g}/{second:.3g}'
