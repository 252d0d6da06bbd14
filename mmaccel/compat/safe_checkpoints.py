"""torch >= 2.6 rejects every MMEngine checkpoint.

``torch.load`` unpickles allowed types only, and a checkpoint's message hub has
``HistoryBuffer`` objects with numpy arrays. Exactly those types are allowed here; the
check itself stays on.
"""

import io
import pickle
from collections.abc import Callable
from typing import Any


def allowed_globals() -> list[Any]:
    """List what an MMEngine checkpoint contains beyond tensors and plain containers.

    Returns:
        Types and functions, some as ``(object, name in the pickle)``: numpy 2 moved
        ``numpy.core`` to ``numpy._core``, and a checkpoint written under either
        must load under both.
    """
    import numpy as np
    from mmengine.logging import HistoryBuffer

    # what np.ndarray.__reduce__ names, without importing a private module
    reconstruct = np.empty(0).__reduce__()[0]
    scalar = np.float64(0).__reduce__()[0]
    names = ('numpy.core.multiarray', 'numpy._core.multiarray')
    return [
        HistoryBuffer,
        (_history_statistic, 'builtins.getattr'),
        np.ndarray,
        np.dtype,
        # histories are float64 or, as the counts are, int64; a best score kept for
        # the next evaluation may be a float32 or float64 scalar
        *{type(np.dtype(t)) for t in (np.float64, np.int64, np.float32)},
        *((reconstruct, f'{name}._reconstruct') for name in names),
        *((scalar, f'{name}.scalar') for name in names),
    ]


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
    """Allow the types of :func:`allowed_globals` in ``torch.load``."""
    import torch

    torch.serialization.add_safe_globals(allowed_globals())
