"""Load weights that fit their network; reject others with the mismatching names."""

import os
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeGuard

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.model import PretrainedInit, update_init_info
from mmengine.registry import WEIGHT_INITIALIZERS
from torch import Tensor, nn

from mmaccel.errors import ConfigError

from .checkpoint_reader import check_tensors, read_checkpoint, tensors
from .config_reader import dicts

#: Share of the names, the network's and the checkpoint's, that have to be matched.
MIN_MATCHED = 0.95

#: What a pretraining checkpoint calls its backbone.
PREFIX = 'backbone.'

#: A weight that old checkpoints lack, and on which nothing depends.
COUNTER = 'num_batches_tracked'


def read_weights(path: str | os.PathLike) -> dict[str, Tensor]:
    """Read a checkpoint's weights, whoever wrote it.

    Args:
        path (str or PathLike): A file of MMEngine (weights under ``state_dict``), of
            timm or the methods' authors (``model`` or ``state_dict``), or weights
            alone. Names of nested dicts come before those inside, with a ``.``.

    Raises:
        ConfigError: If a weight is not finite, or as :func:`read_checkpoint`.
    """
    content: Any = read_checkpoint(path)
    for key in ('state_dict', 'model'):
        if isinstance(content.get(key), Mapping):
            content = content[key]
    weights = dict(tensors(content))
    if not weights:
        names = ', '.join(map(str, list(content)[:5])) or 'none'
        raise ConfigError(
            f'{path} contains no weights, which are tensors with names (its keys: '
            f'{names}); give a checkpoint'
        )
    check_tensors(weights, path)
    return weights


def backbone_weights(
    path: str | os.PathLike, prefix: str = PREFIX
) -> dict[str, Tensor]:
    """Read the weights under a prefix, by their names in a plain backbone.

    Args:
        path (str or PathLike): As :func:`read_weights`.
        prefix (str): What the backbone's names start with, ``''`` where the file is a
            backbone alone. Defaults to ``'backbone.'``, or whatever it is in a file of
            one other backbone.

    Raises:
        ConfigError: If no backbone has the prefix, with those that one has; or as
            :func:`read_weights`.
    """
    weights = read_weights(path)
    prefix = prefix if prefix.endswith('.') or not prefix else f'{prefix}.'
    found = {n[len(prefix) :]: x for n, x in weights.items() if n.startswith(prefix)}
    others = _prefixes(weights)
    if prefix == PREFIX and prefix not in others and len(others) == 1:
        (prefix,) = others  # of other authors, and not to be mistaken
        found = {
            n[len(prefix) :]: x for n, x in weights.items() if n.startswith(prefix)
        }
    if not found or (others and prefix not in others):
        remedy = (
            'give ' + ' or '.join(f"--prefix '{other}'" for other in others)
            if others
            else 'give the checkpoint of a ResNet'
        )
        raise ConfigError(
            f"the checkpoint {path} has no backbone under the prefix '{prefix}' (its "
            f'names are like {next(iter(weights))}); {remedy}'
        )
    return _plain_names(found)


def of_backbone(weights: Mapping[str, Tensor], own: Iterable[str]) -> dict[str, Tensor]:
    """Weights of stem and stages, without the heads that lie beside them.

    Args:
        weights (Mapping[str, Tensor]): Under a backbone's prefix.
        own (Iterable[str]): Names of the network's weights. Stages that it lacks are
            kept: they tell another depth.
    """
    parts = {name.partition('.')[0] for name in own}
    return {
        name: x
        for name, x in weights.items()
        if name.partition('.')[0] in parts or re.match(r'layer\d+\.', name)
    }


def load_backbone(
    backbone: nn.Module, path: str | os.PathLike, prefix: str = PREFIX
) -> None:
    """Load a checkpoint's backbone; one that does not fit raises.

    Upstream only warns of a wrong prefix or depth, and evaluates random weights.

    Args:
        backbone (nn.Module): The network.
        path (str or PathLike): As :func:`read_weights`.
        prefix (str): As :func:`backbone_weights`.

    Raises:
        ConfigError: If a shape differs, if fewer than 95 % of the network's or of the
            checkpoint's names match, or as :func:`backbone_weights`.

    Note:
        Replaces the weights and logs one line.
    """
    given = backbone_weights(path, prefix)
    own = backbone.state_dict()
    _check_fit(own, given, path, prefix, type(backbone).__name__)
    backbone.load_state_dict({n: x for n, x in given.items() if n in own}, strict=False)


def set_pretrained(cfg: Config, path: str, prefix: str = PREFIX) -> None:
    """Set the checkpoint wherever a model's config has ``checkpoint=None``.

    Those places have ``init_cfg=dict(type='Pretrained', checkpoint=None)``. Without
    any, all that have another checkpoint get this one, or else the backbone does.

    Args:
        cfg (Config): A training's config, changed in place.
        path (str): The checkpoint.
        prefix (str): What its backbone's names start with. Defaults to
            ``'backbone.'``.

    Raises:
        ConfigError: If there is no such file, or the model has no backbone.
    """
    if not os.path.isfile(path):
        raise ConfigError(f'there is no checkpoint {path}')
    pretrained = [node for node in dicts(cfg.model) if _is_pretrained(node)]
    places = [node for node in pretrained if _waits(node)] or pretrained
    if not places:
        if not isinstance(cfg.model.get('backbone'), dict):
            raise ConfigError(
                f'the model of {cfg.filename} has no backbone to load {path} into; '
                'leave --pretrained out'
            )
        for node in (cfg.model, cfg.model.backbone):
            node.pop('pretrained', None)
        cfg.model.backbone.init_cfg = dict(type='Pretrained')
        places = [cfg.model.backbone.init_cfg]
    for place in places:
        place.update(checkpoint=path, prefix=prefix or None)


def drop_pretrained(cfg: Config) -> None:
    """Drop ``checkpoint=None``: all weights come from the run's own checkpoint."""
    for node in dicts(cfg.model):
        if isinstance(node.get('init_cfg'), dict) and _waits(node['init_cfg']):
            node['init_cfg'] = None


def check_pretrained(model: nn.Module) -> None:
    """Reject pretrained weights that would be loaded only in part.

    Checks every module whose ``init_cfg`` has a local checkpoint, which MMEngine loads
    when training starts. Modules with the same checkpoint are checked together: a
    detector's backbone and its shared head are two parts of one ResNet.

    Args:
        model (nn.Module): The model, wrapped or not.

    Raises:
        ConfigError: As :func:`load_backbone`, or if a checkpoint is missing.

    Note:
        Logs one line per checkpoint; loads nothing.
    """
    groups: dict[tuple[str, str], list[tuple[str, nn.Module]]] = {}
    for name, module in model.named_modules():
        init_cfg = getattr(module, 'init_cfg', None)
        for one in init_cfg if isinstance(init_cfg, (list, tuple)) else [init_cfg]:
            if not _is_pretrained(one):
                continue
            path = one.get('checkpoint')
            if not path:
                option = f'model.{re.sub("^module.?", "", name)}'.rstrip('.')
                raise ConfigError(
                    f'{option} has no pretrained weights; give --pretrained '
                    'CHECKPOINT, or train from random weights with --cfg-options '
                    f'{option}.init_cfg=None'
                )
            if '://' not in path:
                key = (path, one.get('prefix') or '')
                groups.setdefault(key, []).append((name, module))
    for (path, prefix), modules in groups.items():
        own: dict[str, Tensor] = {}
        for _, module in modules:
            own.update(module.state_dict())
        given = backbone_weights(path, prefix)
        _check_fit(own, given, path, prefix, ' and '.join(n for n, _ in modules))
        for _, module in modules:
            module._pretrained_fits = True  # type: ignore[assignment]


@WEIGHT_INITIALIZERS.register_module('Pretrained', force=True)
class CheckedPretrained(PretrainedInit):
    """MMEngine's, without warnings of weights that belong to other modules.

    MMEngine lists every name of a checkpoint that a module lacks, although a detector's
    backbone and head share one. Modules that :func:`check_pretrained` has accepted are
    loaded without that list; for others this is MMEngine's.
    """

    def __call__(self, module: nn.Module) -> None:
        """Load a module's weights."""
        if not getattr(module, '_pretrained_fits', False):
            super().__call__(module)
            return
        given = backbone_weights(self.checkpoint, self.prefix or '')
        own = module.state_dict()
        weights = {name: x for name, x in given.items() if name in own}
        module.load_state_dict(weights, strict=False)
        if hasattr(module, '_params_init_info'):
            update_init_info(module, init_info=self._get_init_info())


def check_whole(model: nn.Module, path: str | os.PathLike) -> None:
    """Reject a checkpoint that leaves any of a model's weights random.

    Args:
        model (nn.Module): The model, wrapped or not.
        path (str or PathLike): As :func:`read_weights`.

    Raises:
        ConfigError: If a name is missing or a shape differs; or as
            :func:`read_weights`.
    """
    _reject_another(model, read_weights(path), path, ('missing', 'shape'))


def load_whole(model: nn.Module, path: str | os.PathLike) -> None:
    """Load the checkpoint of a model's own training, all of it.

    Args:
        model (nn.Module): The model, not wrapped.
        path (str or PathLike): As :func:`read_weights`.

    Raises:
        ConfigError: If a name is missing or left over or a shape differs; or as
            :func:`read_weights`.

    Note:
        Replaces the weights.
    """
    weights = read_weights(path)
    _reject_another(model, weights, path, ('missing', 'unexpected', 'shape'))
    model.load_state_dict(_unwrapped(weights), strict=False)


def _reject_another(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    path: str | os.PathLike,
    kinds: Collection[str],
) -> None:
    found = mismatch(model.state_dict(), weights)
    if any(found[kind] for kind in kinds):
        raise ConfigError(
            f"the checkpoint {path} is not one of this config's model "
            f'({summary(found)}); give the one that training it saved'
        )


def mismatch(
    own: Mapping[str, Tensor], given: Mapping[str, Tensor]
) -> dict[str, list[str]]:
    """Compare a checkpoint's weights with a model's, by name and shape.

    Args:
        own (Mapping): The model's ``state_dict``.
        given (Mapping): The checkpoint's. A leading ``module.`` does not count.

    Returns:
        dict[str, list[str]]: Names that are ``'missing'`` in the checkpoint,
        ``'unexpected'`` in it, or have another ``'shape'``.
    """
    own = _unwrapped(own)
    given = _unwrapped(given)
    return dict(
        missing=[n for n in own if n not in given and not n.endswith(COUNTER)],
        unexpected=[n for n in given if n not in own],
        shape=[n for n, x in given.items() if n in own and _shape(x) != _shape(own[n])],
    )


def summary(found: dict[str, list[str]]) -> str:
    """Put what :func:`mismatch` found into words, with three names of each kind."""
    titles = dict(
        missing='missing in it',
        unexpected='not in the model',
        shape='of another shape',
    )
    parts = []
    for kind, title in titles.items():
        names = found[kind]
        more = f' and {len(names) - 3} more' if len(names) > 3 else ''
        if names:
            parts.append(f'{title}: {", ".join(names[:3])}{more}')
    return '; '.join(parts)


def _check_fit(
    own: Mapping[str, Tensor],
    given: Mapping[str, Tensor],
    path: str | os.PathLike,
    prefix: str,
    into: str,
) -> None:
    given = of_backbone(given, own)
    found = mismatch(own, given)
    wanted = [n for n in own if not n.endswith(COUNTER)]
    offered = [n for n in given if not n.endswith(COUNTER)]
    matched = len(wanted) - len(found['missing'])
    if found['shape'] or matched < MIN_MATCHED * max(len(wanted), len(offered)):
        raise ConfigError(
            f'the weights of {path} do not fit {into}: {matched} of its '
            f'{len(wanted)} names are among the {len(offered)} under the prefix '
            f"'{prefix}' ({summary(found)}); give the checkpoint of a backbone of the "
            'same kind and depth, or set depth and kind in model.backbone'
        )
    print_log(
        f'Pretrained weights for {into}: {matched} of {len(wanted)} names matched, '
        f"from {path}, prefix '{prefix}'",
        logger='current',
    )


def _prefixes(weights: Iterable[str]) -> list[str]:
    """Prefixes under which these names have the first block of a ResNet."""
    block = re.compile(r'(|.*\.)(layer1|[34])\.0\.conv1\.weight')
    names = set(weights)
    found = {}
    for match in filter(None, map(block.fullmatch, names)):
        prefix, stage = match.groups()
        if stage == 'layer1' or f'{prefix}0.weight' in names:
            found[prefix] = stage
    return sorted(found)


def _plain_names(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names of a ResNet whose children were put into ``nn.Sequential``.

    Convolution and norm are then 0 and 1; the stages start at 4, or at 3 where there is
    no pooling.
    """
    if '0.weight' not in weights or 'layer1.0.conv1.weight' in weights:
        return weights
    first = 3 if '3.0.conv1.weight' in weights else 4
    if f'{first}.0.conv1.weight' not in weights:
        return weights
    names = {'0': 'conv1', '1': 'bn1'}
    names.update({str(first + n): f'layer{n + 1}' for n in range(4)})
    return {
        names.get(head, head) + dot + rest: x
        for name, x in weights.items()
        for head, dot, rest in [name.partition('.')]
    }


def _is_pretrained(init_cfg: object) -> TypeGuard[dict]:
    return isinstance(init_cfg, dict) and init_cfg.get('type') == 'Pretrained'


def _waits(init_cfg: object) -> bool:
    return _is_pretrained(init_cfg) and not init_cfg.get('checkpoint')


def _unwrapped(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {re.sub(r'^module\.', '', name): x for name, x in weights.items()}


def _shape(x: object) -> torch.Size | None:
    return x.shape if isinstance(x, Tensor) else None
