"""What a pretraining was, read from the config that its checkpoint carries."""

import ast
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mmengine.config import Config

from mmaccel.engine.config_reader import (
    DECISIVE,
    dicts,
    hooks,
    training_set,
    type_name,
    views,
)

from .cached_features import hash_text

#: Method of a backbone that was trained with labels.
SUPERVISED = 'Supervised'

#: Longest text of a config that is parsed; MMEngine's have some 10,000 characters.
MAX_CONFIG = 1_000_000

# what Python's parser raises for text that is no literal or nested too deeply
_NO_LITERAL = (SyntaxError, ValueError, TypeError, MemoryError, RecursionError)

# as configs/ablations/ has them; others are named
_PROBS = {'bp_to_input': None, 'nearby_block': (0, 0, 0.25, 0.75)}
_BLOCKS = 8
_WINDOWS = dict(num_candidates=2, crop_ratio=0.75, after_stages=(1, 2))
_PREFER = dict(hard='HP', easy='Easy Pair', random='Random Pair')
_DATASETS = dict(CIFAR10='CIFAR-10', FashionMNIST='Fashion-MNIST', IMAGENET='ImageNet')


class Recipe(NamedTuple):
    """How a backbone was pretrained, in the words of the paper's tables.

    ``method``: such as ``'Accel-MoCo v2'``; SwAV's names its views. ``variant``: what
    an Accel method does, ``'PB + HP'`` being the paper's own, ``''`` for upstream's
    methods. ``views``: such as ``'2×160 + 4×96'``. ``arch``: such as ``'ResNet-50'``.
    ``dataset``: of the pretraining.
    """

    method: str
    variant: str
    views: str
    arch: str
    dataset: str


def read_recipe(cfg: Config | Mapping) -> Recipe | None:
    """Recognise a contrastive pretraining by its config.

    Args:
        cfg (Config or Mapping): A config, or what :func:`parse_config` gives.

    Returns:
        Recipe, optional: None for anything but MoCo, SimCLR, SwAV, their Accel forms
        and MMClassification's supervised training.
    """
    model = cfg.get('model') or {}
    kind = type_name(model)
    if kind == 'ImageClassifier':
        return _supervised(model, cfg)
    accel = kind.startswith('Accel')
    family = kind[len('Accel') :] if accel else kind
    if family not in ('MoCo', 'SimCLR', 'SwAV'):
        return None
    shown = _views(cfg)
    neck = model.get('neck') or {}
    projector = neck.get('projector', 'MoCoV2Neck') if accel else neck
    if family == 'MoCo' and type_name(projector) != 'LinearNeck':
        family = 'MoCo v2'
    if family == 'SwAV' and shown:
        family += f' {shown}'
    return Recipe(
        method=f'Accel-{family}' if accel else family,
        variant=_variant(model, _hook(cfg)) if accel else '',
        views=shown,
        arch=_arch(model.get('backbone') or {}),
        dataset=_dataset(training_set(cfg)),
    )


def settings_digest(cfg: dict) -> str:
    """Tell pretrainings apart that are one recipe with other hyper-parameters.

    Args:
        cfg (dict): As :func:`read_recipe`.

    Returns:
        str: Eight digits that depend on model, views, batch, optimizer, schedules and
        hooks, and neither on the seed nor on where the data are.
    """
    settings = {name: cfg[name] for name in DECISIVE if name in cfg}
    loader = cfg.get('train_dataloader') or {}
    pipelines = [d['pipeline'] for d in dicts(loader) if 'pipeline' in d]
    return hash_text([settings, loader.get('batch_size'), pipelines])[:8]


def describe(cfg: Mapping) -> tuple[Recipe | None, str | None]:
    """Recipe and digest of the settings of a config that may come from anyone.

    Args:
        cfg (Mapping): What :func:`parse_config` gives.

    Returns:
        tuple: Both None where the config is not recognised, or not one at all.
    """
    try:
        recipe = read_recipe(cfg)
        return recipe, settings_digest(dict(cfg)) if recipe else None
    except Exception:  # a text from anyone can have any value anywhere
        return None, None


def recognise_classifier(state_dict: dict) -> Recipe | None:
    """Recognise torchvision's ResNets trained on ImageNet, by their weights' names.

    Args:
        state_dict (dict): Names and tensors.
    """
    fc, conv = state_dict.get('fc.weight'), state_dict.get('layer1.0.conv1.weight')
    if fc is None or conv is None or len(fc) != 1000 or len(conv) != 64:
        return None
    blocks = {name.rsplit('.', 2)[0] for name in state_dict if '.conv1.' in name}
    bottleneck = 'layer1.0.conv3.weight' in state_dict
    depth = len(blocks) * (3 if bottleneck else 2) + 2
    return Recipe(SUPERVISED, '', '', f'ResNet-{depth}', 'ImageNet')


def parse_config(text: str) -> dict:
    """Read the config text of a checkpoint without running it.

    MMEngine dumps a config as assignments of literals and ``dict(...)``. A checkpoint
    may come from anyone, so anything else in it counts as None.

    Args:
        text (str): ``meta['cfg']`` of a checkpoint.

    Returns:
        dict: Top-level names and values; empty if it cannot be read.
    """
    if len(text) > MAX_CONFIG:
        return {}
    try:
        body = ast.parse(text).body
        return {
            line.targets[0].id: _literal(line.value)
            for line in body
            if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name)
        }
    except _NO_LITERAL:
        return {}


def _literal(node: ast.expr) -> Any:
    if isinstance(node, ast.Call) and getattr(node.func, 'id', '') == 'dict':
        value = {k.arg: _literal(k.value) for k in node.keywords if k.arg}
        for given in [*node.args, *(k.value for k in node.keywords if not k.arg)]:
            value.update(_literal(given) or {})
        return value
    if isinstance(node, ast.Dict):
        pairs = [(_literal(k), v) for k, v in zip(node.keys, node.values) if k]
        return {key: _literal(v) for key, v in pairs if isinstance(key, (str, int))}
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_literal(element) for element in node.elts]
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError):
        return None


def _supervised(model: dict, cfg: Config | Mapping) -> Recipe | None:
    backbone = model.get('backbone') or {}
    if type_name(backbone.get('init_cfg')) == 'Pretrained' or model.get('pretrained'):
        return None  # a linear evaluation or a fine-tuning
    return Recipe(SUPERVISED, '', '', _arch(backbone), _dataset(training_set(cfg)))


def _variant(model: dict, hook: dict) -> str:
    parts = [_scheme(hook), _windows(model.get('crop_layer') or {})]
    # old checkpoints carry the old names of settings
    if model.get('loss_on', model.get('supervision')) == 'cumulative':
        parts.append('cumulative')
    if model.get('key_forward') == 'truncated':
        parts.append('truncated keys')
    negatives = model.get('negatives', 'queue')
    if isinstance(negatives, str):
        negatives = [negatives]
    if 'batch' in negatives:
        same = len(set(negatives)) == 1
        parts.append(f'negatives={_short(negatives[:1] if same else negatives)}')
    if (model.get('head') or {}).get('decoupled'):
        parts.append('decoupled')
    weights = tuple(model.get('loss_weights') or ())
    if any(weight != 1 for weight in weights):
        parts.append(f'loss_weights={_short(weights)}')
    if hook.get('anneal'):
        parts.append(f'anneal={hook["anneal"]}')
    changes = [*(hook.get('schedule') or ()), *(hook.get('phases') or ())]
    parts += [_change(change) for change in changes]
    return ' + '.join(part for part in parts if part) or 'no exits, no windows'


def _scheme(hook: dict) -> str:
    if hook.get('schedule'):
        return ''  # its stages say it
    scheme = hook.get('update_scheme', 'bp_to_input')
    if scheme == 'skipping':
        blocks = hook.get('num_blocks')
        return 'Skipping' if blocks == _BLOCKS else f'Skipping (num_blocks={blocks})'
    probs = tuple(hook.get('exit_probs') or (1, 1, 1, 1) if hook else (1,))
    entries = tuple(hook.get('entry_probs') or ())
    name = 'Nearby-Block' if scheme == 'nearby_block' else 'PB'
    usual = _PROBS[scheme] or (probs[0],) * len(probs)
    changed = [] if probs == usual else [f'exit_probs={_short(probs)}']
    if any(entries[1:]):
        changed.append(f'entry_probs={_short(entries)}')
    elif name == 'PB' and not any(probs[:-1]):
        return ''
    return f'{name} ({", ".join(changed)})' if changed else name


def _change(change: dict) -> str:
    """Such as ``'until 0.5: view_scale=1 windows=False'``."""
    settings = [
        f'{name}={_short(value) if isinstance(value, (list, tuple)) else _plain(value)}'
        for name, value in sorted(change.items())
        if name not in ('begin', 'until')
    ]
    old = 'begin' in change  # a phase
    when = ('from', change['begin']) if old else ('until', change.get('until', 1.0))
    return ' '.join([f'{when[0]} {_plain(when[1])}:', *settings])


def _windows(layer: dict) -> str:
    if not layer:
        return ''
    if type_name(layer) == 'HardExampleLayer':
        keep = layer.get('keep', 0.5625)
        return 'Hard Example' if keep == 0.5625 else f'Hard Example (keep={keep:g})'
    prefer = str(layer.get('prefer', layer.get('select', 'hard')))
    name = _PREFER.get(prefer, prefer)
    for key, short in dict(num_candidates='M', crop_ratio='ratio').items():
        value = layer.get(key, _WINDOWS[key])
        name += '' if value == _WINDOWS[key] else f' {short}={value:g}'
    after = tuple(layer.get('after_stages', _WINDOWS['after_stages']))
    return name + ('' if after == _WINDOWS['after_stages'] else f' after={after}')


def _short(values: Sequence) -> str:
    return '/'.join(_plain(value) for value in values)


def _plain(value: Any) -> str:
    return f'{value:.3g}' if isinstance(value, float) else str(value)


def _hook(cfg: Config | Mapping) -> dict:
    return next((hook for _, hook in hooks(cfg, 'PartialBackpropHook')), {})


def _views(cfg: Config | Mapping) -> str:
    """Number and size of an image's views: ``'2×160 + 4×96'``."""
    counts: dict[str, int] = {}
    for number, size in views(training_set(cfg)):
        side = '?' if size is None else '×'.join(map(str, dict.fromkeys(size)))
        counts[side] = counts.get(side, 0) + number
    return ' + '.join(f'{number}×{side}' for side, number in counts.items())


def _arch(backbone: dict) -> str:
    arch = type_name(backbone)
    if 'depth' in backbone:
        arch += f'-{backbone["depth"]}'
    base = backbone.get('base_channels', 64)
    return arch if base == 64 else f'{arch} (base_channels={base})'


def _dataset(dataset: dict) -> str:
    """The dataset's name, a folder's for one without a name."""
    kind = type_name(dataset)
    if kind not in ('UnlabelledFolder', 'FolderInMemory', 'CustomDataset'):
        return _DATASETS.get(kind, kind)
    paths = [dataset.get('data_root'), dataset.get('data_prefix')]
    parts = [p for path in paths if isinstance(path, str) for p in path.split('/')]
    named = [p for p in parts if p not in ('', '.', 'train', 'test', 'val')]
    name = named[-1] if named else kind
    return _DATASETS.get(name.upper(), name)
