"""What ``mmcv._ext`` is when mmcv's ops are not compiled.

Torchvision computes ``nms`` and average RoIAlign, which is what Faster R-CNN needs;
PSPNet needs none. Every other op can be imported, and raises ``NotImplementedError``
when it is called. Argument names are those of mmcv's own bindings.

Torchvision needs one type for all tensors of a call, on a CPU of 32 bits or more. With
mixed precision, features and scores have 16 bits and boxes 32: all are computed with
at least 32, and results have the type that mmcv gives them.
"""

from collections.abc import Callable
from typing import Any, NoReturn

import torch
import torchvision
from torch import Tensor

REMEDY = (
    'install compiled mmcv: make an environment with `-c constraints-era.txt` '
    '(torch 2.0.1), there `pip uninstall -y mmcv-lite` and '
    '`MMCV_WITH_OPS=1 pip install --no-build-isolation mmcv==2.0.1`'
)

#: By the beginning of an op's name, what needs no compiled op.
_INSTEAD = {
    'softnms': "set type='nms' in the config's nms, or ",
    'sync_bn': "set norm_cfg=dict(type='SyncBN'), which is torch's, or ",
}


def nms(bboxes: Tensor, scores: Tensor, *, iou_threshold: float, offset: int) -> Tensor:
    """Return the indices of the boxes kept, by falling score.

    Args:
        bboxes: Corners ``x1, y1, x2, y2`` in pixels.
        scores: One per box.
        iou_threshold: Boxes that overlap a better one by more are dropped.
        offset: 1 where ``x2, y2`` are inclusive, else 0.

    Shape:
        bboxes: (N, 4); scores: (N,); returns: (n,), int64.
    """
    bboxes, scores = _alike(bboxes, scores)
    if offset:
        bboxes = bboxes + bboxes.new_tensor([0, 0, offset, offset])
    return torchvision.ops.nms(bboxes, scores, iou_threshold)


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    *,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Fill ``output`` with the regions' bilinearly sampled, averaged features.

    Shape:
        input: (N, C, H, W); rois: (K, 5), image index and corners;
        output: (K, C, aligned_height, aligned_width); argmax_*: unused.

    Raises:
        NotImplementedError: For ``pool_mode`` 0, the maximum.
    """
    if pool_mode != 1:
        _reject("roi_align with pool_mode='max'")
    input, rois = _alike(input, rois)
    output.copy_(
        torch.ops.torchvision.roi_align(
            input,
            rois,
            spatial_scale,
            aligned_height,
            aligned_width,
            sampling_ratio,
            aligned,
        )
    )


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    *,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Fill ``grad_input``, shaped like the forward's input, with its gradient."""
    grad_output, rois = _alike(grad_output, rois)
    grad_input.copy_(
        torch.ops.torchvision._roi_align_backward(
            grad_output,
            rois,
            spatial_scale,
            aligned_height,
            aligned_width,
            *grad_input.shape,
            sampling_ratio,
            aligned,
        )
    )


def get_compiler_version() -> str:
    """Answer environment reports, which ask before each training."""
    return 'n/a (no compiled ops)'


def get_compiling_cuda_version() -> str:
    """Answer environment reports, which ask before each training."""
    return 'n/a (no compiled ops)'


def _alike(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Both tensors in the wider of their types, of 32 bits or more."""
    dtype = torch.promote_types(torch.promote_types(a.dtype, b.dtype), torch.float32)
    return a.to(dtype), b.to(dtype)


def _reject(what: str, instead: str = '') -> NoReturn:
    raise NotImplementedError(f'mmcv op {what} is not in mmcv-lite; {instead}{REMEDY}')


def __getattr__(name: str) -> Callable:
    """Give every other op a function that raises when called."""
    if name.startswith('__'):
        raise AttributeError(name)

    def op(*args: Any, **kwargs: Any) -> NoReturn:
        hints = (hint for start, hint in _INSTEAD.items() if name.startswith(start))
        _reject(f'{name!r}', next(hints, ''))

    op.__name__ = name
    return op
