"""Compiled stages on tensors without data: what torch's compiler makes of them."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch import Tensor, nn
from torch import compile as torch_compile  # which the runner replaces
from torch._guards import detect_fake_mode
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import _disable_current_modes

from mmaccel.errors import ConfigError

from .count import StepCounter

#: The GPU whose kernels are planned: an A100. Its number of processors decides which
#: sums are split.
_GPU: dict[str, Any] = dict(
    type='cuda',
    index=0,
    multi_processor_count=108,
    cc=80,
    major=8,
    regs_per_multiprocessor=65536,
    max_threads_per_multi_processor=2048,
    max_threads_per_block=1024,
    warp_size=32,
)


class Graph(NamedTuple):
    """What a compiled graph asks of a GPU."""

    launches: int
    moved: int  # bytes


class CompiledStage:
    """Stands in for ``torch.compile`` of a stage on fake CUDA tensors.

    The stage runs as it is, uncounted, and torch's compiler plans the kernels of its
    graphs; those are counted, the backward pass's when a gradient goes through.

    Args:
        function (Callable): The stage, from a map (N, C, H, W) to the next.
        model (nn.Module): Has the stage's parameters and buffers.
        counter (Callable): Returns the :class:`StepCounter` of the step.
    """

    def __init__(
        self,
        function: Callable[[Tensor], Tensor],
        model: nn.Module,
        counter: Callable[[], StepCounter],
    ) -> None:
        self._function = function
        self._model = model
        self._counter = counter
        self._plans: dict[tuple, dict[str, Graph]] = {}

    def __call__(self, x: Tensor) -> Tensor:
        """Run the stage and count its forward pass.

        Raises:
            ConfigError: If this torch's compiler cannot be asked.
        """
        plan = self._plan(x)
        counter = self._counter()
        with counter.paused():
            y = self._function(x)
        self.count(plan['forward'], 'forward', y)
        if y.grad_fn is None:
            return y
        leaves = [x, *_leaves(y)] if x.requires_grad else _leaves(y)
        return _Counted.apply(y.detach(), *leaves, self, plan['backward'])

    def count(self, graph: Graph, way: str, x: Tensor) -> None:
        """Add a graph to what the step was counted so far."""
        name = f'compiled stage, {way} {tuple(x.shape)}'
        self._counter().add(name, graph.launches, graph.moved)

    def gradients(self, leaves: list[Tensor]) -> list[Tensor]:
        """Gradients without data, uncounted."""
        with self._counter().paused():
            return [torch.empty_like(leaf) for leaf in leaves]

    def _plan(self, x: Tensor) -> dict[str, Graph]:
        narrow = torch.is_autocast_enabled('cuda')
        dtype = torch.get_autocast_dtype('cuda') if narrow else None
        recorded = torch.is_grad_enabled()
        key = (x.shape, x.stride(), x.dtype, x.requires_grad, recorded, dtype)
        if key not in self._plans:
            with _disable_current_modes(), FakeTensorMode() as mode:
                mode.allow_non_fake_inputs = True
                with _on_host(self._model):
                    self._plans[key] = _planned(self._function, _twin(x), dtype)
        return self._plans[key]


class _Counted(torch.autograd.Function):
    """Passes on a stage's map; its gradient costs what the compiled one does."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, *others: Any) -> Tensor:
        # tensors first: the engine of fake steps passes gradients on by their place
        *ctx.leaves, ctx.stage, ctx.graph = others
        return y.view_as(y)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple:
        ctx.stage.count(ctx.graph, 'backward', gradient)
        return (None, *ctx.stage.gradients(ctx.leaves), None, None)


def _leaves(y: Tensor) -> list[Tensor]:
    """Parameters from which a tensor was computed."""
    found, stack, seen = [], [y.grad_fn], set()
    while stack:
        node: Any = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, 'variable'):
            found.append(node.variable)
        stack += [following for following, _ in node.next_functions]
    return found


def _planned(
    function: Callable[[Tensor], Tensor], x: Tensor, dtype: torch.dtype | None
) -> dict[str, Graph]:
    """Graphs that torch's compiler makes of a function."""
    graphs: dict[str, Graph] = {}
    try:
        from torch._inductor.compile_fx import compile_fx

        def plan(graph: Any, inputs: Any, is_backward: bool = False, **_: Any) -> Any:
            graphs['backward' if is_backward else 'forward'] = _graph(graph, inputs)
            return _boxed(graph.forward)

        def backend(graph: Any, inputs: Any) -> Any:
            return compile_fx(graph, inputs, inner_compile=plan)

        compiled = torch_compile(function, backend=backend, dynamic=False)
        with torch.autocast('cpu', dtype, enabled=dtype is not None):
            y = compiled(x)
        if y.requires_grad:
            torch.autograd.grad(y.sum(), [p for p in _leaves(y) if p.requires_grad])
    except Exception as error:
        raise ConfigError(
            f'torch {torch.__version__} cannot tell here what it compiles '
            f'({type(error).__name__}: {str(error).strip().splitlines()[0]}); count '
            'without --compile, or with --cfg-options model.compile_stages=False'
        ) from error
    return graphs


def _boxed(function: Callable) -> Callable:
    def run(inputs: list) -> Any:
        return function(*inputs)

    run._boxed_call = True  # type: ignore[attr-defined]
    return run


def _graph(graph: Any, inputs: Any) -> Graph:
    """Kernels of a graph of operators, and the bytes that they move."""
    from torch._inductor import compile_fx
    from torch._inductor.debug import DebugContext
    from torch._inductor.graph import GraphLowering
    from torch._inductor.scheduler import NopKernelSchedulerNode
    from torch._inductor.virtualized import V

    graph = copy.deepcopy(graph)  # passes change it, and another is run
    for node in graph.graph.nodes:
        if 'val' in node.meta:
            node.meta['val'] = pytree.tree_map(_moved, node.meta['val'])
    on_gpu = [_moved(value) for value in inputs]
    compile_fx.record_original_output_strides(graph)
    lowering = GraphLowering(graph, example_inputs=on_gpu)
    with (
        V.set_fake_mode(detect_fake_mode(on_gpu)),
        V.set_graph_handler(lowering),
        V.set_debug_handler(DebugContext()),
        _planning_for_gpu(),
    ):
        compile_fx._recursive_post_grad_passes(graph)
        lowering.run(*on_gpu)
        lowering._update_scheduler()
        moved = lowering.count_bytes()[0]
    nodes = lowering.scheduler.nodes
    launches = sum(not isinstance(node, NopKernelSchedulerNode) for node in nodes)
    return Graph(launches, moved)


@contextlib.contextmanager
def _planning_for_gpu() -> Iterator[None]:
    """Tell torch's compiler of a GPU that is not there."""
    from torch._dynamo.device_interface import CudaInterface
    from torch._inductor import scheduler
    from torch._inductor.runtime.hints import DeviceProperties

    known = {k: v for k, v in _GPU.items() if k in DeviceProperties._fields}
    gpu = DeviceProperties(**known)
    with (
        mock.patch.object(DeviceProperties, 'create', lambda device: gpu),
        mock.patch.object(scheduler, 'has_triton', lambda *_: True),
        mock.patch.object(
            CudaInterface, 'get_compute_capability', staticmethod(lambda *_: 80)
        ),
        mock.patch.object(
            CudaInterface.Worker, 'get_device_properties', staticmethod(lambda *_: gpu)
        ),
        mock.patch.object(torch.cuda, 'get_device_properties', lambda *_: gpu),
        mock.patch.object(torch.cuda, 'get_device_capability', lambda *_: (8, 0)),
        mock.patch.object(torch.cuda, 'current_device', lambda: 0),
        mock.patch.object(torch.cuda, 'is_available', lambda: True),
        mock.patch.object(torch.cuda, 'device_count', lambda: 1),
    ):
        yield


def _moved(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    return torch.empty_strided(
        value.shape, value.stride(), dtype=value.dtype, device='cuda:0'
    )


@contextlib.contextmanager
def _on_host(model: nn.Module) -> Iterator[None]:
    """Put twins on the CPU in the place of a model's parameters and buffers."""
    held: list[tuple[dict[str, Any], str, Tensor]] = [
        (tensors, name, old)
        for module in model.modules()
        for tensors in (module._parameters, module._buffers)
        for name, old in tensors.items()
        if old is not None
    ]
    twins: dict[int, Tensor] = {}
    for tensors, name, old in held:
        if id(old) not in twins:
            twins[id(old)] = _twin(old)
        tensors[name] = twins[id(old)]
    try:
        yield
    finally:
        for tensors, name, old in held:
            tensors[name] = old


def _twin(old: Tensor) -> Tensor:
    new = torch.empty_strided(old.shape, old.stride(), dtype=old.dtype, device='cpu')
    if isinstance(old, nn.Parameter):
        return nn.Parameter(new, requires_grad=old.requires_grad)
    return new.requires_grad_(old.requires_grad)
