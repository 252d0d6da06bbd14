"""Where the time of a training step goes, in the words of the step."""

import contextlib
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import wraps
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from mmaccel.models.plan import StepPlan
from mmaccel.models.utils.backbones import stage_names

from .device import Marks
from .step import StepRunner

PREPROCESSOR = 'data preprocessor'
HEADS = 'heads and loss'
SCORING = 'scoring windows'
CUTTING = 'cutting windows'
AVERAGE = 'moving average'
OPTIMIZER = 'optimizer'
OTHER = 'other'


def profile_step(
    runner: StepRunner, plan: StepPlan | None = None, steps: int = 3, warmup: int = 1
) -> list[dict[str, float]]:
    """Time the parts of a step.

    The parts follow one another on the device's time line and leave nothing out, so
    they add up to the step. Each network runs in stages (``query stage 2, forward``;
    without a key encoder just ``stage 2, forward``); ``heads and loss`` takes in
    projectors, logits and queues. The backward pass is divided by the gradients that
    arrive: from the moment that a stage's output has its gradient, the stage's own
    backward pass runs.

    Args:
        runner (StepRunner): Not compiled: what watches the stages is not traced.
        plan (StepPlan, optional): What the step does. None for upstream models.
        steps (int): Steps to time.
        warmup (int): Steps before, not timed.

    Returns:
        list[dict[str, float]]: Milliseconds by part, one dict per step.
    """
    timed = []
    for i in range(warmup + steps):
        parts = _Parts(runner)
        with parts.watching():
            runner.step(plan)
        if i >= warmup:
            timed.append(parts.marks.milliseconds())
    return timed


def typical(timed: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Median by part of several steps; what a step did not do took it 0 ms."""
    names = {name: None for step in timed for name in step}
    return {
        name: statistics.median(step.get(name, 0.0) for step in timed) for name in names
    }


def expected(
    parts: Mapping[str, Mapping[str, float]], probs: Mapping[str, float]
) -> dict[str, float]:
    """Parts of what an update may do, weighted by how often it does it."""
    names = {name: None for by_part in parts.values() for name in by_part}
    return {
        name: sum(p * parts[variant].get(name, 0.0) for variant, p in probs.items())
        for name in names
    }


def dearest(parts: Mapping[str, float], count: int = 5) -> list[dict]:
    """The most expensive parts: ``part``, ``ms`` and ``share`` of the step."""
    total = sum(parts.values())
    order = sorted(parts, key=lambda name: parts[name], reverse=True)
    return [
        dict(part=name, ms=round(parts[name], 3), share=round(parts[name] / total, 4))
        for name in order[:count]
    ]


def operators(
    runner: StepRunner, plans: Sequence[StepPlan | None], rows: int = 12
) -> str:
    """Torch's own table of the operators that take most time, over a step a plan."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    if runner.device.type == 'cuda':
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as trace:
        for plan in plans:
            runner.step(plan)
    averages = trace.key_averages()
    by = 'self_cpu_time_total'
    if runner.device.type == 'cuda':  # named after CUDA before torch 2.4
        new = hasattr(averages[0], 'self_device_time_total')
        by = 'self_device_time_total' if new else 'self_cuda_time_total'
    return averages.table(sort_by=by, row_limit=rows, max_name_column_width=40)


class _Parts:
    """Watches one step from outside: nothing in the training code knows of it."""

    def __init__(self, runner: StepRunner) -> None:
        self.marks = Marks(runner.device)
        self._runner = runner
        self._inside: list[str] = []

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Mark what the step is doing while this context lasts."""
        model, optim_wrapper = self._runner.model, self._runner.optim_wrapper
        with contextlib.ExitStack() as stack:
            self._watch_networks(model, stack)
            self._patch(stack, model, 'forward', HEADS)
            self._patch(stack, model.data_preprocessor, 'forward', PREPROCESSOR)
            self._patch(stack, optim_wrapper, 'backward', f'{HEADS}, backward')
            for name in ('step', 'zero_grad'):
                self._patch(stack, optim_wrapper, name, OPTIMIZER)
            if hasattr(model, 'encoder_k'):
                self._patch(stack, model.encoder_k, 'update_parameters', AVERAGE)
            self._watch_windows(model, stack)
            with self._part(OTHER):
                yield
            self.marks.mark(OTHER)  # the end

    @contextlib.contextmanager
    def _part(self, name: str) -> Iterator[None]:
        self._enter(name)
        try:
            yield
        finally:
            self._leave()

    def _enter(self, name: str) -> None:
        self._inside.append(name)
        self.marks.mark(name)

    def _leave(self) -> None:
        self._inside.pop()
        if self._inside:
            self.marks.mark(self._inside[-1])

    def _turn_to(self, name: str) -> None:
        """Go on with another part of the backward pass."""
        self._inside[-1] = name
        self.marks.mark(name)

    def _patch(
        self, stack: contextlib.ExitStack, owner: Any, name: str, part: str
    ) -> None:
        """Mark a part while a method or function runs."""
        wrapped = self._timed(getattr(owner, name), part)
        stack.enter_context(mock.patch.object(owner, name, wrapped))

    def _timed(self, function: Callable, part: str) -> Callable:
        @wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            with self._part(part):
                return function(*args, **kwargs)

        return timed

    def _on_gradient(self, out: Any, part: str) -> None:
        """Mark a part from the moment that the gradient of its output is there."""
        out = out[-1] if isinstance(out, (tuple, list)) else out
        if isinstance(out, Tensor) and out.requires_grad:
            out.register_hook(lambda _: self._turn_to(f'{part}, backward'))

    def _watch_networks(self, model: Any, stack: contextlib.ExitStack) -> None:
        has_keys = hasattr(model, 'encoder_k')
        self._watch_network(model.backbone, 'query ' if has_keys else '', stack)
        self._watch(model.neck, HEADS, HEADS, stack)
        if has_keys:
            key_backbone, key_neck = model.encoder_k.module
            self._watch_network(key_backbone, 'keys ', stack)
            self._watch(key_neck, HEADS, HEADS, stack)

    def _watch_network(
        self, backbone: nn.Module, whose: str, stack: contextlib.ExitStack
    ) -> None:
        first = f'{whose}stem and stage 1'
        # what a backbone does outside its stages, and all that the first stage's view
        # of it does; the gradient that enters the first stage's output ends there, too
        self._watch(backbone, f'{first}, forward', None, stack)
        for number, name in enumerate(stage_names(backbone), 1):
            part = first if number == 1 else f'{whose}stage {number}'
            stage = getattr(backbone, name)
            self._watch(stage, f'{part}, forward', part, stack)

    def _watch(
        self,
        module: nn.Module,
        part: str,
        backward: str | None,
        stack: contextlib.ExitStack,
    ) -> None:
        """Mark a part while a module runs, through its views as well."""

        def before(module: nn.Module, args: Any) -> None:
            self._enter(SCORING if SCORING in self._inside else part)

        def after(module: nn.Module, args: Any, out: Any) -> None:
            if backward is not None:
                self._on_gradient(out, backward)
            self._leave()

        for handle in (
            module.register_forward_pre_hook(before),
            module.register_forward_hook(after),
        ):
            stack.callback(handle.remove)

    def _watch_windows(self, model: nn.Module, stack: contextlib.ExitStack) -> None:
        layer: Any = getattr(model, 'crop_layer', None)
        for owner, name in (
            (layer, 'pick'),
            (layer, 'hardest'),
            (model, 'whole_codes'),
        ):
            if hasattr(owner, name):
                self._patch(stack, owner, name, SCORING)
        if hasattr(layer, 'cut'):
            cut = layer.cut

            def watched(x: Tensor, *args: Any) -> Tensor:
                with self._part(f'{CUTTING}, forward'):
                    out = cut(x, *args)
                self._on_gradient(out, CUTTING)
                return out

            stack.enter_context(mock.patch.object(layer, 'cut', watched))
