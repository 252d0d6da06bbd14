"""Training steps on CUDA tensors without a GPU: devices, shapes and types, no numbers.

Torch's ``FakeTensorMode`` runs the forward pass on tensors that have a device and no
data. Two things it cannot do on a machine without a GPU are added: moving a module, and
the backward pass, whose engine asks the driver for a context.
"""

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar
from unittest import mock

import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from torch import Tensor, nn
from torch.autograd import Variable
from torch.utils.weak import WeakTensorKeyDictionary

from mmaccel.models.plan import StepPlan

from .compiled import CompiledStage
from .count import Counts, StepCounter
from .numerics import Numerics
from .step import StepRunner


class FakeStepRunner(StepRunner):
    """A :class:`StepRunner` whose model and images are on fake CUDA.

    The model is built with real weights, which are let go of when it is moved.

    Args:
        cfg, batch_size, size, numerics: As of :class:`StepRunner`.

    Attributes:
        counts (Counts): Of the last step.

    Raises:
        ImportError: If this torch has no ``FakeTensorMode``.
    """

    def __init__(
        self,
        cfg: Config,
        batch_size: int,
        size: int | None = None,
        numerics: Numerics | None = None,
    ) -> None:
        from torch._subclasses.fake_tensor import FakeTensorMode

        self._mode = FakeTensorMode(allow_non_fake_inputs=True)
        self._shadows = WeakTensorKeyDictionary()
        super().__init__(cfg, batch_size, size, 'cuda:0', numerics)
        for group in self.optim_wrapper.param_groups:
            if group.get('foreach', False) is None:  # torch's choice on a GPU
                group['foreach'] = True

    def step(self, plan: StepPlan | None = None) -> None:
        """Run one whole training step and count it."""
        self.counts = self.counted(lambda: super(FakeStepRunner, self).step(plan))

    def counted(self, body: Callable[[], Any]) -> Counts:
        """Count what a function asks of the device."""
        with self._on_device(), StepCounter(self._shadows) as self._counter:
            body()
        return self._counter.counts

    def wrap(self, wrapper: Callable[[Any], Any]) -> None:
        """Let steps go through a wrapper for several ranks."""
        with self._on_device():
            self.model.train_step = wrapper(self.model).train_step

    @contextmanager
    def _on_device(self) -> Iterator[None]:
        with (
            self._mode,
            mock.patch.object(Tensor, 'backward', _backward),
            mock.patch.object(torch, 'compile', self._compiled),
            mock.patch.object(torch.cuda, 'current_device', lambda: 0),
            mock.patch.object(torch.cuda, 'get_device_capability', lambda _: (8, 0)),
            mock.patch.object(Variable, '_execution_engine', _Engine),
        ):
            yield

    def _compiled(self, function: Any, **_: Any) -> CompiledStage:
        return CompiledStage(function, self.model, lambda: self._counter)

    def synchronize(self) -> None:
        """There is nothing to wait for."""

    def _move(self, x: Any) -> Any:
        """Make a tensor, or those of a module, fake ones on the device."""
        if not isinstance(x, nn.Module):
            with self._mode:
                fake = self._mode.from_tensor(x).to(self.device)
            if not x.is_floating_point() and x.dim() < 2:  # no images
                self._shadows[fake] = x.clone()
            return fake
        moved: dict[int, Tensor] = {}  # shared ones together
        if isinstance(x, BaseModel):  # which tells its data preprocessor
            x._set_device(self.device)
        for module in x.modules():
            for tensors in (module._parameters, module._buffers):
                for old in tensors.values():
                    if old is not None and id(old) not in moved:
                        moved[id(old)] = self._moved(old)
        for module in x.modules():  # MMEngine's averages keep lists of their own
            for held in vars(module).values():
                for name, old in list(held.items()) if isinstance(held, dict) else ():
                    held[name] = moved.get(id(old), old)
        return x

    def _moved(self, old: Tensor) -> Tensor:
        new: Tensor = self._move(old.detach())
        if not isinstance(old, nn.Parameter):
            return new
        with self._mode:
            return nn.Parameter(new, requires_grad=old.requires_grad)


class _Engine:
    """Stands in for torch's engine where a hook asks for a call at its end."""

    callbacks: ClassVar[list[Callable[[], None]]] = []
    run_backward = staticmethod(Variable._execution_engine.run_backward)

    @classmethod
    def queue_callback(cls, callback: Callable[[], None]) -> None:
        cls.callbacks.append(callback)


def _backward(loss: Tensor, gradient: Tensor | None = None, **_: Any) -> None:
    """Run the nodes of a graph in the order in which torch's engine does."""
    root: Any = loss.grad_fn
    if root is None:
        raise RuntimeError('the loss does not require a gradient')
    waiting: dict[Any, int] = defaultdict(int)
    seen, stack = {root}, [root]
    while stack:
        for node, _place in stack.pop().next_functions:
            if node is not None:
                waiting[node] += 1
                if node not in seen:
                    seen.add(node)
                    stack.append(node)
    given: dict[Any, dict[int, Tensor]] = defaultdict(dict)
    given[root][0] = torch.ones_like(loss) if gradient is None else gradient
    ready = [(-root._sequence_nr(), 0, root)]
    number = 0
    while ready:
        node = heapq.heappop(ready)[-1]
        results = _call(node, given.pop(node, {}))
        for (target, place), result in zip(node.next_functions, results):
            if target is None:
                continue
            if result is not None:
                result = _fitted(result, target._input_metadata[place])
                known = given[target].get(place)
                given[target][place] = result if known is None else known + result
            waiting[target] -= 1
            if not waiting[target]:
                number += 1
                heapq.heappush(ready, (-target._sequence_nr(), number, target))
    while _Engine.callbacks:
        _Engine.callbacks.pop(0)()


def _call(node: Any, given: dict[int, Tensor]) -> tuple:
    """Gradients of a node's inputs; none where none reached it."""
    if not given:
        return (None,) * len(node.next_functions)
    gradients = [given.get(place) for place in range(max(given) + 1)]
    with torch.no_grad():
        if hasattr(node, 'variable'):
            _accumulate(node.variable, gradients[0])
            return ()
        function = getattr(node, 'apply', node)  # a Python function's
        results = function(*gradients)
    return results if isinstance(results, tuple) else (results,)


def _accumulate(leaf: Tensor, gradient: Tensor | None) -> None:
    """Add to a leaf's gradient; take the first as it is, as the engine does."""
    if gradient is None:
        return
    if leaf.grad is not None:
        leaf.grad.add_(gradient)
    elif gradient.stride() == leaf.stride():
        leaf.grad = gradient
    else:
        leaf.grad = torch.empty_like(leaf).copy_(gradient)
    hooks: Any = getattr(leaf, '_post_accumulate_grad_hooks', None) or {}
    for hook in hooks.values():
        hook(leaf)


def _fitted(gradient: Tensor, wanted: Any) -> Tensor:
    """A gradient summed to the shape, and cast to the type, of what it is for."""
    if gradient.device != wanted.device:
        raise RuntimeError(
            f'a gradient is on {gradient.device} and its tensor on {wanted.device}'
        )
    if gradient.shape != wanted.shape:
        gradient = gradient.sum_to_size(wanted.shape)
    return gradient.to(wanted.dtype)
