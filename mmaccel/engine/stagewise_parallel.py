"""Data parallelism that communicates the gradients a step computed, and no others."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch.distributed as dist
from mmengine.device import get_device
from mmengine.model import BaseModel, revert_sync_batchnorm
from mmengine.optim import OptimWrapper
from mmengine.registry import MODEL_WRAPPERS
from torch import Tensor, nn
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors
from torch.autograd import Variable

_MIB = 2**20


class _Reduction(NamedTuple):
    """A reduction in progress: its handle, the flat gradients, their parameters."""

    work: Any
    flat: Tensor
    parameters: list[nn.Parameter]


@MODEL_WRAPPERS.register_module()
class StagewiseDataParallel(nn.Module):
    """Averages over ranks the gradients that a backward pass computed, and no others.

    ``DistributedDataParallel`` reduces every parameter in every step. Parameters after
    the exit have no gradient; it then has to search the graph for them
    (``find_unused_parameters``) and sums zeros: ResNet-50's last stage has 15 of 23.5
    million parameters and is trained in a quarter of the steps. Here a parameter
    without a gradient costs nothing, and its ``grad`` stays None.

    Gradients are reduced in buckets, each within one stage or projector, as soon as a
    bucket is complete, during the backward pass; incomplete buckets follow at its end.
    All ranks draw the same exit (:class:`PartialBackpropHook`), so they agree on the
    order without communication.

    Args:
        module (BaseModel): The model.
        bucket_mb (float): Largest bucket in MiB, above 0. Defaults to 25, as
            ``DistributedDataParallel``.
        own_group (bool): Whether gradients have a communicator of their own, beside
            which ``SyncBatchNorm`` and gatherings need not wait for a bucket. Defaults
            to False.

    Attributes:
        bytes_reduced (int): Bytes of gradients reduced so far.

    Note:
        On construction rank 0's parameters and buffers are broadcast. Afterwards each
        rank has its own buffers, as with MMEngine's default. Without a GPU every
        ``SyncBatchNorm`` becomes a plain batch norm, since torch has none for CPUs.
    """

    def __init__(
        self, module: BaseModel, bucket_mb: float = 25.0, own_group: bool = False
    ) -> None:
        super().__init__()
        if get_device() == 'cpu':
            revert_sync_batchnorm(module)
        self.module = module
        self.bytes_reduced = 0
        self._group: Any = dist.new_group() if own_group else None
        self._synchronise = True  # of forward passes from now on
        self._reducing = True  # of the backward pass to come
        self._reductions: list[_Reduction] = []
        self._ready: dict[nn.Parameter, None] = {}  # in the order of arrival
        for x in [*module.parameters(), *module.buffers()]:
            dist.broadcast(x.detach(), src=0)
        self._buckets = make_buckets(module, int(bucket_mb * _MIB))
        self._arrived = [0] * len(self._buckets)  # gradients of each that are ready
        self._bucket_of = {
            p: i for i, bucket in enumerate(self._buckets) for p in bucket
        }
        self._hooks = [
            after_accumulation(p, self._collect)
            for bucket in self._buckets
            for p in bucket
        ]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the module."""
        self._begin()
        return self.module(*args, **kwargs)

    def train_step(self, data: Any, optim_wrapper: OptimWrapper) -> dict[str, Tensor]:
        """Run one training step, as MMEngine's wrapper does."""
        with optim_wrapper.optim_context(self):
            self._begin()
            data = self.module.data_preprocessor(data, training=True)
            losses: Any = self.module._run_forward(data, mode='loss')
        loss, log_vars = self.module.parse_losses(losses)
        optim_wrapper.update_params(loss)
        return log_vars

    def val_step(self, data: Any) -> list:
        """Predict, as the module does."""
        return self.module.val_step(data)

    def test_step(self, data: Any) -> list:
        """Predict, as the module does."""
        return self.module.test_step(data)

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """Let the gradients of forward passes in this context accumulate unreduced."""
        before, self._synchronise = self._synchronise, False
        try:
            yield
        finally:
            self._synchronise = before

    def _begin(self) -> None:
        """Prepare for a backward pass, whatever an error left of the one before."""
        self._reducing = self._synchronise
        self._forget()

    def _forget(self) -> None:
        self._reductions.clear()
        self._ready.clear()
        self._arrived = [0] * len(self._buckets)

    def _collect(self, parameter: nn.Parameter) -> None:
        """Note a gradient that is ready; reduce its bucket if it is complete."""
        if not self._reducing or parameter in self._ready:
            return
        if not self._ready:
            Variable._execution_engine.queue_callback(self._finish)
        self._ready[parameter] = None
        number = self._bucket_of[parameter]
        self._arrived[number] += 1
        if self._arrived[number] == len(self._buckets[number]):
            self._reduce(self._buckets[number])

    def _reduce(self, parameters: list[nn.Parameter]) -> None:
        flat = _flatten_dense_tensors(_gradients(parameters))
        flat.div_(dist.get_world_size())
        self.bytes_reduced += flat.numel() * flat.element_size()
        work = dist.all_reduce(flat, group=self._group, async_op=True)
        self._reductions.append(_Reduction(work, flat, parameters))

    def _finish(self) -> None:
        """Reduce incomplete buckets, and wait for all reductions."""
        for bucket in self._buckets:
            ready = [p for p in bucket if p in self._ready]
            if 0 < len(ready) < len(bucket):
                self._reduce(ready)
        for work, flat, parameters in self._reductions:
            work.wait()
            gradients = _gradients(parameters)
            for gradient, mean in zip(
                gradients, _unflatten_dense_tensors(flat, gradients)
            ):
                gradient.copy_(mean)
        self._forget()


def make_buckets(module: nn.Module, capacity: int) -> list[list[nn.Parameter]]:
    """Group the trainable parameters, the last ones first.

    Args:
        module (nn.Module): The model.
        capacity (int): Bytes after which a bucket is full.

    Returns:
        list[list[nn.Parameter]]: Each within one stage, projector or head, of one type
        and device.
    """
    buckets: list[list[nn.Parameter]] = []
    previous, size = None, 0
    for name, parameter in reversed(list(module.named_parameters())):
        if not parameter.requires_grad:
            continue
        kind = (_unit(name), parameter.dtype, parameter.device)
        if kind != previous or size >= capacity:
            buckets.append([])
            previous, size = kind, 0
        buckets[-1].append(parameter)
        size += parameter.numel() * parameter.element_size()
    return buckets


def after_accumulation(
    parameter: nn.Parameter, hook: Callable[[nn.Parameter], None]
) -> Any:
    """Call a hook whenever a backward pass has added to a parameter's gradient.

    Returns:
        A reference that keeps the hook alive in torch < 2.1.
    """
    if hasattr(parameter, 'register_post_accumulate_grad_hook'):
        return parameter.register_post_accumulate_grad_hook(hook)
    node = parameter.expand_as(parameter).grad_fn.next_functions[0][0]  # type: ignore[union-attr]
    node.register_hook(lambda *_: hook(parameter))  # type: ignore[union-attr]
    return node


def _gradients(parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    return [p.grad for p in parameters if p.grad is not None]


def _unit(name: str) -> str:
    """The part of a model that a step trains as a whole: a stage, an exit's head."""
    found = re.match(r'(\w+\.layer\d+|\w+\.\w+\.\d+)\.', name)
    return found[1] if found else name.partition('.')[0]
