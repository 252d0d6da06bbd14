"""What a training step asks of a GPU: kernels, bytes, waits, collectives."""

import sys
from collections import Counter
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, unset_fake_temporarily
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

_ROOT = Path(__file__).resolve().parents[1]
_HERE = Path(__file__).resolve().parent

#: Operators that only describe memory, or get it.
_NO_KERNEL = {
    'alias',
    'as_strided',
    'as_strided_',
    'detach',
    'empty',
    'empty_like',
    'empty_strided',
    'lift_fresh',
    'new_empty',
    'new_empty_strided',
    'resize_',
    'set_',
    '_reshape_alias',
    '_unsafe_view',
    '_local_scalar_dense',
}

#: Operators whose result has as many rows as there are hits: the host has to know.
_COUNTED_ON_HOST = {'nonzero', 'masked_select', 'unique_consecutive'}

#: Values are computed up to this many.
_LARGEST_SHADOW = 1 << 20


_FACTORIES = ('arange', 'empty', 'eye', 'full', 'ones', 'rand', 'scalar', 'zeros')


class Wait(NamedTuple):
    """A place where the host waits for the device."""

    place: str  # file and line of the innermost frame outside torch
    ours: bool  # whether that file is mmaccel's
    operator: str


class Collective(NamedTuple):
    """A call of torch.distributed."""

    name: str
    device: str
    elements: int


@dataclass
class Counts:
    """What was counted.

    Args:
        launches (int): Kernels; a fused ``_foreach_`` call is one.
        moved (int): Bytes that they read and write.
        waits (list[Wait]): Copies that block the host, and values that it reads.
        collectives (list[Collective]): In their order.
        slow (Counter): ``_foreach_`` calls that CUDA runs tensor by tensor.
        relaid (int): Convolutions whose maps are not channels-last.
        operators (Counter): Kernels by operator.
        movers (Counter): Bytes by operator and the shape of its largest tensor.
    """

    launches: int = 0
    moved: int = 0
    waits: list[Wait] = field(default_factory=list)
    collectives: list[Collective] = field(default_factory=list)
    slow: Counter = field(default_factory=Counter)
    relaid: int = 0
    operators: Counter = field(default_factory=Counter)
    movers: Counter = field(default_factory=Counter)

    @property
    def our_waits(self) -> list[Wait]:
        """Waits that mmaccel's own files cause."""
        return [wait for wait in self.waits if wait.ours]


class StepCounter(TorchDispatchMode):
    """Counts what is dispatched within its block, on tensors without data.

    Whole numbers and truth values that follow from others are computed beside, and all
    that the host computes, so that it takes the turns that it would; what depends on
    floats of the device is made up: 1, 1.0 or True, and every row a hit.

    Args:
        shadows (MutableMapping[Tensor, Tensor], optional): Values of tensors of whole
            numbers, which are kept up to date. Defaults to none.

    Attributes:
        counts (Counts): What was counted so far.
    """

    def __init__(self, shadows: MutableMapping[Tensor, Tensor] | None = None) -> None:
        super().__init__()
        self.counts = Counts()
        self.shadows = WeakTensorKeyDictionary() if shadows is None else shadows
        self._pinned: list[Tensor] = []
        self._paused = False

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Count nothing in a block."""
        before, self._paused = self._paused, True
        try:
            yield
        finally:
            self._paused = before

    def add(self, name: str, launches: int, moved: int) -> None:
        """Add kernels that are not dispatched one by one, and the bytes they move."""
        self.counts.launches += launches
        self.counts.operators[name] += launches
        self.counts.moved += moved
        self.counts.movers[name] += moved

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        """Run an operator and count it."""
        kwargs = kwargs or {}
        if func._schema.name.startswith('prim::'):  # such as a tensor's device
            return func(*args, **kwargs)
        with self:  # what is made of others is these
            result = func.decompose(*args, **kwargs)
        if result is not NotImplemented:
            return result
        name = func._schema.name.partition('::')[2]
        given = _tensors((args, kwargs))
        if name == '_pin_memory':
            self._pinned.append(args[0])
            return args[0]
        if name == '_local_scalar_dense':
            if _on_gpu(given):
                self._wait(name)
            known = self._value(args[0])
            with unset_fake_temporarily():
                return _stand_in(args[0].dtype) if known is None else known.item()
        real = self._computed(func, args, kwargs, given)
        masks = _masks(args) if name == 'index' else []
        if name in _COUNTED_ON_HOST or masks:
            result = self._chosen(name, args, masks, real)
        else:
            result = func(*args, **kwargs)
        for made, value in zip(_tensors(result), _tensors(real)):
            on_host = made.device.type == 'cpu'
            if (on_host or not made.is_floating_point()) and (
                value.numel() <= _LARGEST_SHADOW
            ):
                self.shadows[made] = value
        if func._schema.name.startswith('c10d::'):
            self._collect(name, given)
        else:
            self._count(func, name, given, args, result)
        return result

    def _computed(self, func: Any, args: tuple, kwargs: dict, given: list) -> Any:
        """What an operator makes of whole numbers; None where it is not known."""
        known = all(self._value(x) is not None for x in given)
        if not known or func._schema.name.startswith('c10d::'):
            if func._schema.is_mutable and args and isinstance(args[0], Tensor):
                self.shadows.pop(args[0], None)
            return None
        if not given and not func.__name__.startswith(_FACTORIES):
            return None

        def real(x: Any) -> Any:
            return self._value(x) if isinstance(x, Tensor) else x

        options = {key: pytree.tree_map(real, x) for key, x in kwargs.items()}
        if 'device' in options:
            options['device'] = torch.device('cpu')
        options.pop('pin_memory', None)
        with unset_fake_temporarily():
            return func(*pytree.tree_map(real, args), **options)

    def _value(self, x: Tensor) -> Tensor | None:
        """What a tensor holds, where that is known."""
        real = not isinstance(x, FakeTensor) and x.device.type == 'cpu'
        return x if real else self.shadows.get(x)

    def _chosen(self, name: str, args: tuple, masks: list, real: Any) -> Any:
        """Empty tensors of the rows that a mask, or what is not zero, chooses."""
        if real is not None:
            made = [args[0].new_empty(x.shape, dtype=x.dtype) for x in _tensors(real)]
            return made[0] if isinstance(real, Tensor) else tuple(made)
        mask = masks[0] if masks else args[-1]
        known = self._value(mask)
        with unset_fake_temporarily():
            rows = mask.numel() if known is None else int(known.count_nonzero())
        if name == 'nonzero':
            return mask.new_empty((rows, mask.dim()), dtype=torch.long)
        shape = args[0].shape[mask.dim() :] if masks else ()
        return args[0].new_empty((rows, *shape))

    def _count(
        self, func: Any, name: str, given: list[Tensor], args: tuple, result: Any
    ) -> None:
        made = _tensors(result)
        if self._paused or not _on_gpu([*given, *made]):
            return
        copied = name in ('_to_copy', 'copy_')
        if name in _COUNTED_ON_HOST or (copied and self._blocks(name, args, made)):
            self._wait(name)
        elif name in ('index', 'index_put_', '_index_put_impl_'):
            indices = [x for x in args[1] if x is not None]
            if any(x.device.type == 'cpu' or x.dtype == torch.bool for x in indices):
                self._wait(name)
        empty = bool(made) and not any(x.numel() for x in made)
        if name in _NO_KERNEL or func.is_view or empty:
            return
        launches = 1
        if name.startswith('_foreach_') and not _is_fast(args):
            launches = max(len(x) for x in args if isinstance(x, (list, tuple)))
            self.counts.slow[name] += 1
        if name == 'convolution' and not args[0].is_contiguous(
            memory_format=torch.channels_last
        ):
            self.counts.relaid += 1
        self.counts.launches += launches
        self.counts.operators[name] += launches
        # read once each, and written, in place too
        tensors = [*{id(x): x for x in given}.values(), *made]
        tensors = [x for x in tensors if x.device.type == 'cuda']
        moved = sum(x.numel() * x.element_size() for x in tensors)
        self.counts.moved += moved
        if tensors:
            largest = max(tensors, key=Tensor.numel)
            self.counts.movers[f'{name} {tuple(largest.shape)}'] += moved

    def _blocks(self, name: str, args: tuple, made: list[Tensor]) -> bool:
        """Whether a copy between devices makes the host wait."""
        target, source = (args[0], args[1]) if name == 'copy_' else (made[0], args[0])
        if {target.device.type, source.device.type} != {'cpu', 'cuda'}:
            return False
        return source.device.type == 'cuda' or not any(
            source is x for x in self._pinned
        )

    def _collect(self, name: str, given: list[Tensor]) -> None:
        device = given[0].device.type if given else 'none'
        elements = sum(x.numel() for x in given)
        self.counts.collectives.append(Collective(name, device, elements))

    def _wait(self, operator: str) -> None:
        place, ours = _place()
        self.counts.waits.append(Wait(place, ours, operator))


def _tensors(values: Any) -> list[Tensor]:
    return [x for x in pytree.tree_leaves(values) if isinstance(x, Tensor)]


def _masks(args: tuple) -> list[Tensor]:
    return [x for x in args[1] if x is not None and x.dtype == torch.bool]


def _on_gpu(tensors: list[Tensor]) -> bool:
    return any(x.device.type == 'cuda' for x in tensors)


def _stand_in(dtype: torch.dtype) -> bool | int | float:
    if dtype == torch.bool:
        return True
    return 1.0 if dtype.is_floating_point else 1


def _is_fast(args: tuple) -> bool:
    """Whether CUDA runs a ``_foreach_`` call in a few kernels: ATen's own rules."""
    lists = [x for x in args if isinstance(x, (list, tuple))]
    for rows in zip(*lists):
        tensors = [x for x in rows if isinstance(x, Tensor)]
        if any(x.dim() == 0 and x.device.type == 'cuda' for x in tensors[1:]):
            continue
        if len({x.stride() for x in tensors if x.dim()}) > 1:
            return False
    every = [x for one in lists for x in one if isinstance(x, Tensor)]
    return len({(x.dtype, x.device.type) for x in every}) <= 1


def _frames() -> Iterator[Any]:
    frame: Any = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back


def _place() -> tuple[str, bool]:
    """File and line that caused an operator, and whether the file is ours."""
    for frame in _frames():
        path = Path(frame.f_code.co_filename)
        if _HERE in path.parents or 'torch' in path.parts or path.name == 'mock.py':
            continue
        if 'site-packages' not in path.parts and _ROOT not in path.parents:
            continue
        ours = _ROOT in path.parents
        shown = path.relative_to(_ROOT.parent if ours else _packages(path))
        return f'{shown}:{frame.f_lineno}', ours
    return 'torch', False


def _packages(path: Path) -> Path:
    parts = path.parts
    return Path(*parts[: parts.index('site-packages') + 1])
