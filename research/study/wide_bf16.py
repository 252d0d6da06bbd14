"""Runs a script whose bfloat16 products are computed in fp32, as hardware sums them.

Processors with instructions for bfloat16 multiply values of 16 bits, sum in fp32 and
round the result. Elsewhere torch has no fast kernels: a convolution takes ten times as
long as in fp32. With the values widened, multiplied and summed in fp32, and the result
rounded, it takes about as long as in fp32, and differs by the order of the sums alone.

    python research/study/wide_bf16.py tools/train.py ARGUMENTS ...
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

_aten = torch.ops.aten
_PRODUCTS = {
    _aten.convolution.default,
    _aten.convolution_backward.default,
    _aten.mm.default,
    _aten.addmm.default,
    _aten.bmm.default,
    _aten.baddbmm.default,
}


class WideProducts(TorchDispatchMode):
    """Within it, convolutions and matrix products of bfloat16 tensors are widened."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        """Compute a product in fp32, anything else as it is."""
        kwargs = kwargs or {}
        if func not in _PRODUCTS or not any(map(_is_narrow, args)):
            return func(*args, **kwargs)
        wide = tree_map_only(torch.Tensor, torch.Tensor.float, (args, kwargs))
        result = func(*wide[0], **wide[1])
        return tree_map_only(torch.Tensor, torch.Tensor.bfloat16, result)


def _is_narrow(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.dtype == torch.bfloat16


if __name__ == '__main__':
    script, *sys.argv[1:] = sys.argv[1:]
    sys.argv[0] = script
    sys.path[0] = str(Path(script).resolve().parent)
    with WideProducts():
        runpy.run_path(script, run_name='__main__')
