"""Training steps on CUDA tensors without a GPU: devices, shapes and types, no numbers.

Torch's ``FakeTensorMode`` runs the forward pass on tensors that have a device and no
data. Two things it cannot do on a machine without a GPU are added: moving a module, and
the backward pass, whose engine asks the driver for a context.
"""

import heapq
from collections import defaultdict
from typing import Any
from unittest import mock

import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from torch import Tensor, nn

from mmaccel.models.plan import StepPlan

from .count import StepCounter
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
        super().__init__(cfg, batch_size, size, 'cuda:0', numerics)
        for group in self.optim_wrapper.param_groups:
            if group.get('foreach', False) is None:  # torch's choice on a GPU
                group['foreach'] = True

    def step(self, plan: StepPlan | None = None) -> None:
        """Run one whole training step and count it."""
        with (
            self._mode,
            StepCounter() as counter,
            mock.patch.object(Tensor, 'backward', _backward),
            mock.patch.object(torch.cuda, 'current_device', lambda: 0),
        ):
            super().step(plan)
        self.counts = counter.counts

    def synchronize(self) -> None:
        """There is nothing to wait for."""

    def _move(self, x: Any) -> Any:
        """Make a tensor, or those of a module, fake ones on the device."""
        if not isinstance(x, nn.Module):
            with self._mode:
                return self._mode.from_tensor(x).to(self.device)
        moved: dict[int, Tensor] = {}  # shared ones together
        if isinstance(x, BaseModel):  # which tells its data preprocessor
            x._set_device(self.device)
        for module in x.modules():
            for tensors in (module._parameters, module._buffers):
                for name, old in tensors.items():
                    if old is not None:
                        moved.setdefault(id(old), self._moved(old))
                        tensors[name] = moved[id(old)]  # type: ignore[assignment]
        return x

    def _moved(self, old: Tensor) -> Tensor:
        new: Tensor = self._move(old.detach())
        if not isinstance(old, nn.Parameter):
            return new
        with self._mode:
            return nn.Parameter(new, requires_grad=old.requires_grad)


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
