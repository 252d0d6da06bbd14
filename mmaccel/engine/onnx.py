"""A backbone as an ONNX file, whose features ONNX Runtime has checked."""

import importlib.util
import inspect
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmaccel.errors import ConfigError
from mmaccel.models.utils.architecture import Architecture
from mmaccel.models.utils.backbones import pooled_map

from .exported_features import check_features, sample_images

#: Largest difference of features: another library's kernels sum in another order.
TOLERANCE = 1e-4

_NEEDED = ('onnx', 'onnxscript', 'onnxruntime')


class _Features(nn.Module):
    """A backbone and the mean over its last map."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, C, H, W) to features (N, D)."""
        return pooled_map(self.backbone(images))


def export(backbone: nn.Module, arch: Architecture, out: str) -> None:
    """Write ``images`` (N, C, H, W) to ``features`` (N, D) as one file, and check it.

    Numbers of images, rows and columns are free. The file is read back by ONNX Runtime
    and has to give the backbone's features for images of another number and size than
    it was traced with.

    Args:
        backbone (nn.Module): In evaluation mode.
        arch (Architecture): What it is.
        out (str): File to write.

    Raises:
        ConfigError: If a package is missing, or features differ; nothing is written.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f'ONNX needs {", ".join(missing)}; `pip install {" ".join(missing)}`, or '
            "install mmaccel with its extra, `pip install 'mmaccel[onnx]'`"
        )
    network = _Features(backbone)
    partial = Path(f'{out}.checking.onnx')
    try:
        _write(network, sample_images(arch), partial)
        images = sample_images(arch, number=3)[..., 8:]
        with torch.no_grad():
            expected = network(images)
        check_features(_run(partial, images), expected, TOLERANCE)
        os.replace(partial, out)
    finally:
        partial.unlink(missing_ok=True)


def _write(network: nn.Module, images: Tensor, path: Path) -> None:
    names: dict[str, Any] = dict(input_names=['images'], output_names=['features'])
    known = inspect.signature(torch.onnx.export).parameters
    with warnings.catch_warnings(), _silent('torch.onnx', 'onnxscript'):
        warnings.simplefilter('ignore')
        options: dict[str, Any]
        if 'external_data' in known:  # one file
            axes = {0: 'number', 2: 'rows', 3: 'columns'}
            options = dict(dynamo=True, external_data=False, dynamic_shapes=(axes,))
            options['verbose'] = False
        else:
            free = dict(images={0: 'number', 2: 'rows', 3: 'columns'})
            options = dict(dynamic_axes={**free, 'features': {0: 'number'}})
        torch.onnx.export(network, (images,), str(path), **names, **options)


def _run(path: Path, images: Tensor) -> Tensor:
    import onnxruntime

    session = onnxruntime.InferenceSession(
        str(path), providers=['CPUExecutionProvider']
    )
    return torch.from_numpy(session.run(None, {'images': images.numpy()})[0])


@contextmanager
def _silent(*names: str) -> Iterator[None]:
    """Without what loggers say of how they go about it."""
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
