"""The one place that opens checkpoint files, whoever wrote them.

A file is data from anyone. Reading one gives plain containers, numbers and tensors, or
one sentence that says what it is instead; it runs no code of the file.
"""

import os
import pickle
import re
import zipfile
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from mmengine.runner import CheckpointLoader
from torch import Tensor

from mmaccel.compat.safe_checkpoints import PlainPickle
from mmaccel.errors import ConfigError

# torch can be told which types are allowed since 2.6; see compat.safe_checkpoints
_SAFELY: dict[str, Any] = dict(weights_only=True)
if tuple(map(int, torch.__version__.split('.')[:2])) < (2, 6):
    _SAFELY = dict(weights_only=False, pickle_module=PlainPickle)

_FOLDER = 0x10  # an attribute of MS-DOS

# what files are that are taken for checkpoints, by how they begin
_OTHERS = {
    rb'$': 'is empty; copy it again',
    rb'(\xef\xbb\xbf)?\s*<': 'is a web page, not a checkpoint; download the file '
    'itself',
    rb'version https://git-lfs': 'is a Git LFS pointer, not the checkpoint; run '
    '`git lfs pull` where it comes from',
    rb'\x1f\x8b|BZh|\xfd7zXZ|\x28\xb5\x2f\xfd': 'is compressed; unpack it',
    rb'\x89PNG|\xff\xd8\xff': 'is a picture, not a checkpoint',
    rb'\x89HDF': 'is an HDF5 file, not a checkpoint of torch; convert it',
    rb'(?s).{257}ustar': 'is a tar archive; unpack it',
    rb'\0{512}': 'begins with zeros, as an unfinished download does; download it again',
    rb'[\t\n\r -~]+$': 'is text, not a checkpoint; download the file itself',
}


def read_checkpoint(
    path: str | os.PathLike, map_location: Any = 'cpu'
) -> dict[str, Any]:
    """Read a checkpoint file without running anything in it.

    Args:
        path (str or PathLike): A file that ``torch.save`` wrote, in any of its formats,
            or a safetensors file.
        map_location (Any): As of ``torch.load``. Defaults to ``'cpu'``.

    Returns:
        dict: Its content. A config that MMEngine would run (``meta['config']``, which
        it no longer writes) is left out.

    Raises:
        ConfigError: If there is no such file, or it is damaged, no checkpoint, or has
            objects that could run code.
    """
    if os.path.isdir(path):
        raise ConfigError(f'{path} is a folder; give a checkpoint in it')
    if not os.path.isfile(path):
        raise ConfigError(f'there is no checkpoint {path}')
    try:
        content = _read(path, map_location)
    except pickle.UnpicklingError as error:
        found = re.search(r'GLOBAL (\S+) ', str(error))
        raise ConfigError(
            f'{path} has {found[1] if found else "more"} beside weights and cannot be '
            "read safely; save its weights alone with torch.save({'state_dict': "
            'model.state_dict()}, path)'
        ) from error
    except ConfigError:
        raise
    except Exception as error:  # a damaged file can raise anything
        raise ConfigError(
            f'the checkpoint {path} is damaged or cut off; copy it again, or use an '
            'earlier one'
        ) from error
    if not isinstance(content, dict):
        raise ConfigError(
            f'{path} contains a {type(content).__name__} and no weights by name; give '
            'a checkpoint'
        )
    if isinstance(content.get('meta'), dict):
        content['meta'].pop('config', None)
    return content


def read_run(path: str | os.PathLike) -> dict[str, Any]:
    """Read a checkpoint from which a training can be resumed.

    Args:
        path (str or PathLike): As :func:`read_checkpoint`.

    Raises:
        ConfigError: If it lacks what MMEngine saves of a run, if a weight is not
            finite, or as :func:`read_checkpoint`.
    """
    content = read_checkpoint(path)
    meta = content.get('meta')
    counted = isinstance(meta, dict) and all(
        type(meta.get(name)) is int and meta[name] >= 0 for name in ('epoch', 'iter')
    )
    hub = content.get('message_hub')
    logged = isinstance(hub, dict) and all(
        isinstance(hub.get(name), dict)
        for name in ('log_scalars', 'runtime_info', 'resumed_keys')
    )
    weights = content.get('state_dict')
    if not (counted and logged and isinstance(weights, dict) and weights):
        raise ConfigError(
            f'{path} is no checkpoint of a run that could be resumed: it does not say '
            'at which iteration; start from its weights with '
            '--cfg-options load_from=FILE, or from its backbone with --pretrained'
        )
    odd = [name for name, holds in _RUN_PARTS.items() if not holds(content)]
    if odd:
        raise ConfigError(
            f'the {odd[0]} in {path} is not what MMEngine saves of a run; use an '
            'earlier checkpoint, or start from its weights with '
            '--cfg-options load_from=FILE'
        )
    check_tensors(weights, path)
    return content


def _all(values: object, kind: Any) -> bool:
    return isinstance(values, (list, tuple)) and all(
        isinstance(value, kind) for value in values
    )


def _is_optimizer(state: object) -> bool:
    if not isinstance(state, dict) or 'param_groups' not in state:
        return state is None or _each_is(state, _is_optimizer)  # several by name
    groups = state['param_groups']
    return (
        isinstance(state.get('state'), dict)
        and _each_is(state['state'], lambda one: isinstance(one, dict))
        and _all(groups, dict)
        and all(isinstance(group.get('lr'), (int, float, Tensor)) for group in groups)
    )


def _each_is(values: object, holds: Callable[[Any], bool]) -> bool:
    return isinstance(values, dict) and all(map(holds, values.values()))


#: What a run's checkpoint may have beside weights, and tests of it.
_RUN_PARTS: dict[str, Callable[[dict[str, Any]], bool]] = {
    'optimizer': lambda content: _is_optimizer(content.get('optimizer')),
    'param_schedulers': lambda content: (
        _all(content.get('param_schedulers', []), dict)
        or _each_is(content['param_schedulers'], lambda one: _all(one, dict))
    ),
    'accumulated_gradients': lambda content: _each_is(
        content.get('accumulated_gradients', {}), lambda x: isinstance(x, Tensor)
    ),
    'seed': lambda content: (
        isinstance(content['meta'].get('seed'), (int, type(None)))
        and 0 <= (content['meta'].get('seed') or 0) < 2**32
    ),
    'message_hub': lambda content: _each_is(
        content['message_hub']['resumed_keys'], lambda one: isinstance(one, bool)
    ),
}


def check_tensors(weights: Mapping[str, Tensor], path: str | os.PathLike) -> None:
    """Check that weights are plain finite tensors, not all zero, of possible variance.

    Args:
        weights (Mapping[str, Tensor]): Names and weights.
        path (str or PathLike): Where they come from.

    Raises:
        ConfigError: Naming the first that is not.
    """
    for name, x in weights.items():
        if not _is_plain(x):
            raise ConfigError(
                f'{name} in {path} is no plain tensor; save weights as dense tensors '
                'that are neither quantised nor views larger than their data'
            )
        if name.endswith('.weight') and not x.is_floating_point():
            raise ConfigError(
                f'{name} in {path} is of {x.dtype}; save weights as floating-point '
                'numbers, before any quantisation'
            )
        if name.endswith('running_var') and (x < 0).any():
            raise ConfigError(
                f'{name} in {path} has variances below zero, so the file is damaged or '
                'was edited; use an earlier checkpoint'
            )
        if not torch.isfinite(x).all():
            raise ConfigError(
                f'the weights of {path} are not finite (such as {name}): the training '
                'that wrote it had diverged; use an earlier checkpoint'
            )
    kernels = [x for x in weights.values() if x.dim() > 1]
    if kernels and not any(x.any() for x in kernels):
        raise ConfigError(
            f'the weights of {path} are all zero: it was saved before they were set; '
            'use another checkpoint'
        )


@CheckpointLoader.register_scheme(prefixes='', force=True)
def load_from_local(filename: str, map_location: Any = None) -> dict[str, Any]:
    """Read a local file for MMEngine: what it resumes and loads itself."""
    return read_checkpoint(os.path.expanduser(filename), map_location)


def _read(path: str | os.PathLike, map_location: Any) -> Any:
    with open(path, 'rb') as file:
        start = file.read(512)
    for pattern, what in _OTHERS.items():
        if re.match(pattern, start, re.IGNORECASE):
            raise ConfigError(f'{path} {what}')
    if zipfile.is_zipfile(path):
        _check_archive(path)
    elif start[8:9] == b'{':
        from safetensors.torch import load_file

        return load_file(path, device='cpu')
    if not start.startswith((b'PK', b'\x80')):  # a zip archive or a pickle
        raise ConfigError(f'{path} is no checkpoint of torch; give one')
    return torch.load(path, map_location=map_location, **_SAFELY)


def _check_archive(path: str | os.PathLike) -> None:
    """Check every byte of a file in torch's format by the archive's checksums.

    Torch reads without them, takes the first of two entries with one name, and leaves
    the memory of what is marked as a folder as it was.

    Raises:
        ConfigError: If the archive is not torch's.
        zipfile.BadZipFile: If it is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        names = {entry.filename for entry in entries}
        if any(name.endswith('constants.pkl') for name in names):
            raise ConfigError(
                f'{path} is a TorchScript program, not a checkpoint; load it with '
                "torch.jit.load and save the weights with torch.save({'state_dict': "
                'model.state_dict()}, path)'
            )
        if any(name.endswith('.npy') for name in names):
            raise ConfigError(f'{path} has arrays of NumPy, not weights of torch')
        if any(name.endswith('archive_format') for name in names):
            raise ConfigError(
                f'{path} is a program of torch.export, not a checkpoint; load it with '
                'torch.export.load and save its state_dict with torch.save'
            )
        if not any(name.endswith('data.pkl') for name in names):
            raise ConfigError(f'{path} is a zip archive, but no checkpoint; unpack it')
        sizes = sum(entry.file_size for entry in entries)
        folder = any(entry.external_attr & _FOLDER for entry in entries)
        if folder or len(names) < len(entries) or sizes > os.path.getsize(path):
            raise zipfile.BadZipFile
        for entry in entries:
            with archive.open(entry) as file:
                while file.read(1 << 20):
                    pass


def _is_plain(x: object) -> bool:
    return (
        isinstance(x, Tensor)
        and x.layout == torch.strided
        and x.device.type != 'meta'
        and not x.is_quantized
        and not x.is_complex()
        and x.numel() * x.element_size() <= x.untyped_storage().nbytes()
    )


def tensors(content: object, prefix: str = '', depth: int = 8) -> Iterable:
    """Names and tensors in nested dicts, names of the dicts and ``.`` before them."""
    if isinstance(content, Mapping) and depth:
        for name, x in content.items():
            if isinstance(name, str):
                if isinstance(x, Tensor):
                    yield f'{prefix}{name}', x
                else:
                    yield from tensors(x, f'{prefix}{name}.', depth - 1)
