"""torch >= 2.6 rejects every MMEngine checkpoint, and older versions run any.

``torch.load`` unpickles allowed types only, and a checkpoint's message hub has
``HistoryBuffer`` objects with numpy arrays; other authors' have command line arguments.
Exactly those are allowed here; the check itself stays on. Before 2.6 there is no
complete check; :class:`PlainPickle` stands in for it, with the same allowed types.

Numpy's own constructors are not among them: ``numpy.ndarray`` makes an array of
whatever memory it is given, so a file that calls it can crash the process. A file gets
stand-ins under numpy's names, which build plain arrays of numbers and nothing else.
"""

import argparse
import functools
import io
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np

#: What arrays of a checkpoint may consist of: truth values, integers and floats.
NUMBERS = frozenset(
    ('b1', 'i1', 'i2', 'i4', 'i8', 'u1', 'u2', 'u4', 'u8', 'f2', 'f4', 'f8')
)


def allowed_globals() -> list[Any]:
    """List what a checkpoint contains beyond tensors and plain containers.

    Returns:
        Types and functions, some as ``(object, name in the pickle)``: numpy 2 moved
        ``numpy.core`` to ``numpy._core``, and a checkpoint written under either
        must load under both.
    """
    from mmengine.logging import HistoryBuffer

    modules = ('numpy.core.multiarray', 'numpy._core.multiarray')
    return [
        HistoryBuffer,
        argparse.Namespace,
        (_history_statistic, 'builtins.getattr'),
        (PlainArray, 'numpy.ndarray'),
        (PlainType, 'numpy.dtype'),
        *((PlainArray, f'{module}._reconstruct') for module in modules),
        *((_plain_scalar, f'{module}.scalar') for module in modules),
    ]


class PlainType:
    """Stand in for ``numpy.dtype``: a type of numbers, by its name in a pickle.

    Numpy's own keeps one object for each type in the whole process, which a file could
    change.

    Args:
        code (str): One of :data:`NUMBERS`.

    Raises:
        pickle.UnpicklingError: For anything else.
    """

    def __init__(self, code: object, *flags: object) -> None:
        if not isinstance(code, str) or code not in NUMBERS:
            raise pickle.UnpicklingError(f'arrays of {code!r} are not allowed')
        self.dtype = np.dtype(code)

    def __setstate__(self, state: object) -> None:
        """Take the byte order; a plain type has nothing else."""
        plain = ('<', '>', '|')
        if state not in [(3, order, None, None, None, -1, -1, 0) for order in plain]:
            raise pickle.UnpicklingError('types with a state are not allowed')
        self.dtype = self.dtype.newbyteorder(state[1])  # type: ignore[index,arg-type]


class PlainArray(np.ndarray):
    """Stand in for ``numpy.ndarray`` and for the function that unpickles one.

    Called with anything it is empty; only a whole and plain state fills it. Saved
    again, it is numpy's own.
    """

    def __new__(cls, *args: object) -> 'PlainArray':
        """Make an empty array, whatever is asked for."""
        return super().__new__(cls, (0,), np.uint8)

    def __setstate__(self, state: object) -> None:
        """Take shape, type, order and bytes, if they belong together."""
        match state:
            case (
                int(),
                tuple(shape),
                PlainType(dtype=dtype),
                bool(order),
                bytes(data),
            ):
                plain = all(type(n) is int and n >= 0 for n in shape)
                if plain and math.prod(shape) * dtype.itemsize == len(data):
                    super().__setstate__((1, shape, dtype, order, data))  # type: ignore[arg-type]
                    return
        raise pickle.UnpicklingError('this state of an array is not allowed')

    def __reduce_ex__(self, protocol: object) -> Any:
        """Pickle as numpy's own array."""
        return self.view(np.ndarray).__reduce_ex__(protocol)  # type: ignore[arg-type]


def _plain_scalar(kind: object, data: object) -> Any:
    """Stand in for the function that unpickles a number of numpy's.

    Raises:
        pickle.UnpicklingError: For anything but one number of a plain type.
    """
    if not isinstance(kind, PlainType) or not isinstance(data, bytes):
        raise pickle.UnpicklingError('this number is not allowed')
    if len(data) != kind.dtype.itemsize:
        raise pickle.UnpicklingError('a number is not of its type')
    return np.frombuffer(data, kind.dtype)[0]


def _history_statistic(owner: type, name: str) -> Callable:
    """Stand in for ``getattr``, by which a ``HistoryBuffer`` pickles its methods.

    Allowing the real ``getattr`` would let a checkpoint reach any attribute of any
    allowed type.

    Raises:
        pickle.UnpicklingError: For anything but a statistic of ``HistoryBuffer``.
    """
    from mmengine.logging import HistoryBuffer

    if owner is HistoryBuffer and name in ('min', 'max', 'mean', 'current'):
        return getattr(HistoryBuffer, name)
    raise pickle.UnpicklingError(f'attribute {name!r} of {owner!r} is not allowed')


class PlainUnpickler(pickle.Unpickler):
    """Unpickles what torch's weights and :func:`allowed_globals` consist of.

    Raises:
        pickle.UnpicklingError: For anything else.
    """

    def find_class(self, module: str, name: str) -> Any:
        """Return what a pickle may name."""
        from torch import _weights_only_unpickler

        known = dict(_weights_only_unpickler._get_allowed_globals())
        for one in allowed_globals():
            kind, path = one if isinstance(one, tuple) else (one, None)
            known[path or f'{kind.__module__}.{kind.__qualname__}'] = kind
        path = f'{module}.{name}'.replace('__builtin__.', 'builtins.')
        if path not in known:
            raise pickle.UnpicklingError(f'GLOBAL {path} is not allowed')
        return known[path]


class PlainPickle:
    """Stand in for the module ``pickle`` in ``torch.load(pickle_module=...)``."""

    Unpickler = PlainUnpickler

    @staticmethod
    def load(file: Any, **options: Any) -> Any:
        """Unpickle a file."""
        return PlainUnpickler(file, **options).load()


def is_needed() -> bool:
    """Tell whether ``torch.load`` rejects a ``HistoryBuffer`` by default."""
    import torch
    from mmengine.logging import HistoryBuffer

    file = io.BytesIO()
    torch.save(HistoryBuffer([1.0], [1.0]), file)
    file.seek(0)
    try:
        torch.load(file)
    except pickle.UnpicklingError:
        return True
    return False


def apply() -> None:
    """Allow :func:`allowed_globals` in ``torch.load``, and nothing more from the web.

    MMEngine downloads with the check off.
    """
    import torch
    from mmengine.runner import checkpoint

    torch.serialization.add_safe_globals(allowed_globals())
    load_url: Callable = checkpoint.load_url  # torch.hub's
    checkpoint.load_url = functools.partial(load_url, weights_only=True)
