"""A step and a validation step on tiny images, before training."""

import copy
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.logging import print_log
from mmengine.model import BaseModel, is_model_wrapper
from mmengine.runner import Runner, ValLoop
from torch import Tensor, nn

from mmaccel import host
from mmaccel.errors import ConfigError
from mmaccel.models.algorithms import AccelAlgorithm
from mmaccel.models.plan import StepPlan
from mmaccel.models.preprocessors import ViewPreprocessor
from mmaccel.models.utils.backbones import last_map
from mmaccel.models.utils.stages import split_stages
from mmaccel.seeding import keep_random_state

from . import config_reader

_LARGEST = 64  # px; of the largest view


def probe_training(runner: Runner) -> None:
    """Find what would fail in the first steps, or after the first epoch.

    A copy of the model takes a step without optimizer on random images of the
    pipeline's number of views, and a step of validation on its first image. The
    number of updates is compared with gradient accumulation.

    Args:
        runner (Runner): Built from a pretraining config, before it trains.

    Raises:
        ConfigError: Naming the module or the setting.

    Note:
        Gathers over ranks where the model does. Random state, model and evaluator are
        as before.
    """
    cfg = cast(Config, runner.cfg)
    _check_accumulation(runner, cfg)
    wrapped = cast(nn.Module, runner.model)
    model = wrapped.module if is_model_wrapper(wrapped) else wrapped
    _check_parameters(model, cfg)
    with keep_random_state():
        inputs = _tiny_views(cfg)
        if not inputs:
            return
        trial = cast(BaseModel, copy.deepcopy(model)).train()
        if isinstance(trial, AccelAlgorithm):
            trial.compile_stages = False
            trial.plan = StepPlan(exit_stage=trial.num_exits)
        with _naming_the_module(trial, 'a step'):
            images = _preprocessed(trial, inputs)
            if isinstance(trial, AccelAlgorithm):
                _check_flow(trial, images[0])
            trial(images, [], mode='loss')
        if cfg.get('val_dataloader'):
            _validate(runner, trial)


def _check_accumulation(runner: Runner, cfg: Config) -> None:
    """Reject more accumulated iterations than the run has."""
    counts = cfg.optim_wrapper.get('accumulative_counts', 1)
    iterations = runner.train_loop.max_iters
    if counts > iterations:
        raise ConfigError(
            f'optim_wrapper.accumulative_counts={counts} is more than the '
            f'{iterations} iterations of the run, so that no update is made; lower it, '
            'or train longer'
        )


def _check_parameters(model: Any, cfg: Config) -> None:
    """Reject a backbone without a parameter to train; warn of settings for none."""
    trains = isinstance(model, AccelAlgorithm)
    if trains and not any(p.requires_grad for p in model.backbone.parameters()):
        raise ConfigError(
            'model.backbone has no parameter to train; lower '
            'model.backbone.frozen_stages'
        )
    option = 'optim_wrapper.paramwise_cfg.custom_keys'
    custom = (cfg.optim_wrapper.get('paramwise_cfg') or {}).get('custom_keys') or {}
    names = [name for name, _ in model.named_parameters()]
    for key in custom:
        if not any(key in name for name in names):
            print_log(
                f"{option}.{key} is part of no parameter's name, so it changes nothing",
                logger='current',
                level=logging.WARNING,
            )


def _tiny_views(cfg: Config) -> list[Tensor]:
    """Random images (N, C, H, W) of each view; empty where the pipeline is unknown."""
    dataset = config_reader.training_set(cfg)
    sizes = [v.size for v in config_reader.views(dataset) for _ in range(v.number)]
    known = [size for size in sizes if size is not None]
    if not known or len(known) < len(sizes):
        return []
    scale = min(1.0, _LARGEST / max(max(size) for size in known))
    batch = cfg.train_dataloader.get('batch_size', 1)
    # the fewest images that fill queues evenly, as a batch does
    number = next((n for n in range(2, batch + 1) if batch % n == 0), 1)
    channels = config_reader.image_channels(cfg)
    return [
        torch.randint(
            256,
            (number, channels, *(max(1, round(scale * side)) for side in size)),
            dtype=torch.uint8,
        )
        for size in known
    ]


def _preprocessed(model: BaseModel, inputs: list[Tensor]) -> list[Tensor]:
    if isinstance(model.data_preprocessor, ViewPreprocessor):  # draws views itself
        device = next(model.parameters()).device
        return [x.to(device, torch.float32) / 255 for x in inputs]
    batch = dict(inputs=inputs, data_samples=[])
    return host.prepared(model.data_preprocessor, batch, True)[0]


def _check_flow(model: AccelAlgorithm, images: Tensor) -> None:
    """Reject a backbone that does not run its stages one after the other."""
    backbone = copy.deepcopy(model.backbone)
    backbone.eval()  # which returns None in MMClassification
    with torch.no_grad():
        maps = backbone(images)
        if isinstance(maps, (tuple, list)) and not maps:
            raise ConfigError(
                f'model.backbone.out_indices={backbone.out_indices} name no '
                f'stage of {type(backbone).__name__}, whose map would be used'
            )
        whole = last_map(maps)
        x = images
        for stage in split_stages(backbone):
            x = stage(x)
    if x.shape != whole.shape or not torch.allclose(x, whole, rtol=1e-3, atol=1e-4):
        raise ConfigError(
            f'model.backbone {type(backbone).__name__} does not run layer1, layer2, '
            '... one after the other, with nothing behind them; use a ResNet-family '
            'backbone whose out_indices name its last stage'
        )


def _validate(runner: Runner, model: BaseModel) -> None:
    """Take a validation step on the first image, as the loop will."""
    with _naming_the_module(model, 'a step of validation'):
        loop = cast(ValLoop, runner.val_loop)
        batch = loop.dataloader.collate_fn([loop.dataloader.dataset[0]])
        with torch.no_grad():
            outputs = model.eval().val_step(batch)
        evaluator = cast(Evaluator, copy.deepcopy(loop.evaluator))
        evaluator.process(data_samples=outputs, data_batch=batch)


@contextmanager
def _naming_the_module(model: nn.Module, what: str) -> Iterator[None]:
    """Say which module an error was raised in."""
    running: list[tuple[str, nn.Module]] = []

    def enter(name: str, module: nn.Module) -> Any:
        return lambda *_: running.append((name, module))

    def leave(*_: Any) -> None:
        running.pop()

    handles = []
    for name, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(enter(name, module)))
        handles.append(module.register_forward_hook(leave))
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f'{what} on tiny images fails: {error}') from error
    except Exception as error:
        name, module = running[-1] if running else ('', model)
        where = f'model.{name}'.rstrip('.')
        raise ConfigError(
            f'{what} on tiny images fails in {where} ({type(module).__name__}): '
            f'{type(error).__name__}: {error}; its settings, or those of the parts '
            'beside it, do not fit'
        ) from error
    finally:
        for handle in handles:
            handle.remove()
