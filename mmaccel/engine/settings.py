"""Settings against what takes them: kinds and ranges before, and errors after.

:func:`check_settings` compares a config with the constructors it will be handed to and
with the ranges in which a setting means something. :func:`explain` turns what a
constructor raised nevertheless into a sentence that names the setting.
"""

import difflib
import fnmatch
import inspect
import logging
import math
import os
import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from string import Formatter
from types import TracebackType
from typing import Any, NamedTuple

from mmengine import registry
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from mmengine.registry import Registry
from mmengine.runner import LogProcessor, Runner
from mmengine.visualization import Visualizer
from torch.utils.data import DataLoader

from mmaccel.errors import ConfigError
from mmaccel.models.preprocessors import AccelDataPreprocessor

from .config_reader import argument, type_name

#: Sections whose parts are compared with their constructors.
_SECTIONS = (
    'model',
    'train_dataloader',
    'val_dataloader',
    'train_cfg',
    'optim_wrapper',
    'param_scheduler',
    'default_hooks',
    'custom_hooks',
    'log_processor',
    'visualizer',
    'randomness',
)
_REGISTRIES = [one for one in vars(registry).values() if isinstance(one, Registry)]

#: Top-level settings that tools read, beside those of the runner.
_OURS = (
    'auto_scale_lr',
    'fast_views',
    'matmul_precision',
    'test_size',
    'baseline',
    'custom_imports',
    'extract_dataloader',  # of MMSelfSup's own tools
)
_PLAIN = (dict, list, tuple, str, int, float)  # and no import of a new-style config

#: Packages whose annotations tell lists from numbers.
_EXACT = ('mmaccel', 'mmengine', 'torch')

#: Words of annotations.
_NUMBERS = {'bool', 'int', 'float'}
_LISTS = {'Sequence', 'List', 'list', 'Tuple', 'tuple'}
_DICTS = {'Dict', 'dict', 'ConfigDict', 'Mapping'}
_KNOWN = {*_NUMBERS, *_LISTS, *_DICTS, 'str'}
_NONE = {'None', 'NoneType', 'Optional'}
_NEUTRAL = {*_NONE, 'Union', 'typing', 'collections', 'abc', 'mmengine', 'config'}
_NUMERAL = re.compile(r'[-+]?[\d.]+(e[-+]?\d+)?|True|False|None')

#: Settings that functions read by name, and the names.
_READ = {
    'auto_scale_lr': {'enable', 'base_batch_size'},
    'env_cfg': {'cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'},
    'optim_wrapper.paramwise_cfg': {
        'custom_keys',
        'bias_lr_mult',
        'bias_decay_mult',
        'norm_decay_mult',
        'flat_decay_mult',
        'dwconv_decay_mult',
        'dcn_offset_lr_mult',
        'bypass_duplicate',
    },
}

_CUSTOM_KEYS = 'optim_wrapper.paramwise_cfg.custom_keys'

#: Settings that are flags and that no constructor takes.
_FLAGS = (
    'fast_views',
    'find_unused_parameters',
    'auto_scale_lr.enable',
    'env_cfg.cudnn_benchmark',
)

#: What takes a part that names no type.
_DEFAULTS: dict[str, Callable] = {
    '*_dataloader': DataLoader,
    'model.data_preprocessor': AccelDataPreprocessor,
    'optim_wrapper': OptimWrapper,
    'log_processor': LogProcessor,
    'visualizer': Visualizer,
    'randomness': Runner.set_randomness,
}

#: MMEngine's functions that build a part, and what they call its config.
_BUILDERS = {
    'build_from_cfg': 'cfg',
    '_build_param_scheduler': 'scheduler',
    'build_dataloader': 'dataloader',
    'build_optim_wrapper': 'optim_wrapper',
}

#: MMEngine's functions that read a section.
_READERS = {
    'setup_env': 'env_cfg',
    'set_randomness': 'randomness',
    'build_logger': 'log_level',
    'build_visualizer': 'visualizer',
    'build_log_processor': 'log_processor',
    'register_default_hooks': 'default_hooks',
    'register_custom_hooks': 'custom_hooks',
    'build_evaluator': 'val_evaluator',
    'build_train_loop': 'train_cfg',
    'scale_lr': 'auto_scale_lr',
}


class Range(NamedTuple):
    """Values that a setting may have: a test, and its words."""

    holds: Callable[[Any], bool]
    words: str


def _number(least: float, most: float = math.inf, *, open_: bool = False) -> Range:
    words = f'a number above {least:g}' if open_ else f'a number of {least:g} or more'
    if most < math.inf:
        words += f' and below {most:g}'

    def holds(value: Any) -> bool:
        above = value > least if open_ else value >= least
        return above and (value < most or most == math.inf)

    return Range(holds, words)


def _count(least: int) -> Range:
    return Range(
        lambda value: value >= least and float(value).is_integer(),
        f'a whole number of {least} or more',
    )


def _every(one: Range, words: str) -> Range:
    return Range(lambda values: all(map(one.holds, values)), words)


def _sides(value: Any) -> bool:
    sides = value if isinstance(value, (list, tuple)) else (value,)
    return bool(sides) and all(map(_count(1).holds, sides))


_PATH = Range(
    lambda path: isinstance(path, (str, os.PathLike)) and bool(str(path).strip()),
    'a path',
)


def _count_or_none(none: str) -> Range:
    return Range(
        lambda value: value == -1 or _count(1).holds(value),
        f'a whole number of 1 or more, or -1 for {none}',
    )


#: By option, with patterns; what is None, or absent, is left to its constructor.
_RANGES = {
    'matmul_precision': Range(
        lambda value: value in ('highest', 'high', 'medium'),
        "'highest', 'high' (TF32 on a GPU) or 'medium'",
    ),
    'load_from': _PATH,
    'work_dir': _PATH,
    'model.pretrained': _PATH,
    'train_dataloader.dataset*.data_root': _PATH,
    'train_dataloader.dataset*.size': Range(
        _sides, 'a whole number of 1 or more, or one each for rows and columns'
    ),
    'default_hooks.checkpoint.out_dir': _PATH,
    'default_hooks.checkpoint.interval': _count_or_none('never'),
    'default_hooks.checkpoint.max_keep_ckpts': _count_or_none('no limit'),
    'model.momentum': _number(0, 1, open_=True),
    'model.queue_len': _count(1),
    'model.feat_dim': _count(1),
    'model.loss_weights': Range(
        lambda w: any(w) and all(x >= 0 for x in w),
        'numbers of 0 or more, not all of them 0',
    ),
    'model.data_preprocessor.std': _every(
        _number(0, open_=True), 'numbers above 0, one for each channel'
    ),
    'model.neck.hid_channels': _count(1),
    'model.neck.out_channels': _count(1),
    'model*.temperature': _number(0, open_=True),
    'model*.epsilon': _number(0, open_=True),
    'model*.sinkhorn_iterations': _count(1),
    'model*.num_prototypes': _count(1),
    'model*.loss_weight': _number(0, open_=True),
    'model*.crops_for_assign': Range(
        lambda views: bool(views) and len(set(views)) == len(views),
        'a list of different views, one or more',
    ),
    '*_dataloader.batch_size': _count(1),
    '*_dataloader.num_workers': _count(0),
    '*_dataloader.prefetch_factor': _count(1),
    '*_dataloader.timeout': _number(0),
    'log_processor.window_size': _count(1),
    'log_processor.custom_cfg.*.window_size': Range(
        lambda window: window in ('epoch', 'global') or window >= 1,
        "a whole number of 1 or more, 'epoch' or 'global'",
    ),
    'train_cfg.max_epochs': _count(1),
    'train_cfg.max_iters': _count(1),
    'train_cfg.val_interval': _count(1),
    'optim_wrapper.accumulative_counts': _count(1),
    'optim_wrapper.optimizer.lr': _number(0, open_=True),
    'optim_wrapper.optimizer.momentum': _number(0, 1),
    'optim_wrapper.optimizer.weight_decay': _number(0),
    'optim_wrapper.paramwise_cfg.*_mult': _number(0),
    'optim_wrapper.paramwise_cfg.custom_keys.*_mult': _number(0),
    'optim_wrapper.clip_grad.max_norm': _number(0, open_=True),
    'param_scheduler.*.T_max': _number(0, open_=True),
    'param_scheduler.*.step_size': _count(1),
    'auto_scale_lr.base_batch_size': _count(1),
}


def check_settings(cfg: Config) -> None:
    """Reject settings of a wrong kind or out of their range, and unknown parts.

    Args:
        cfg (Config): The config of a training.

    Raises:
        ConfigError: Naming the setting.

    Note:
        Warns of top-level settings that nothing reads.
    """
    for name, value in _section(cfg, _CUSTOM_KEYS).items():
        if not isinstance(value, Mapping):
            raise ConfigError(
                f'{_CUSTOM_KEYS}.{name}={value!r} is not possible; give a dict, such '
                'as dict(lr_mult=0.1)'
            )
    for name, near in misspelt_sections(cfg).items():
        print_log(
            f'Nothing reads the setting {name}; did you mean {near}?',
            logger='current',
            level=logging.WARNING,
        )
    for option, kind, part in _parts(cfg):
        for name, value in part.items():
            if name not in ('type', '_scope_'):
                _check_kind(f'{option}.{name}'.lstrip('.'), kind, name, value)
    for option, value in _options(cfg):
        for pattern, allowed in _RANGES.items():
            if value is not None and fnmatch.fnmatchcase(option, pattern):
                _check_range(option, value, allowed)
    for option in _FLAGS:
        section, _, name = option.rpartition('.')
        value = _section(cfg, section).get(name)
        if value is not None and not isinstance(value, bool):
            raise ConfigError(f'{option}={value!r} is neither True nor False')
    scaling = _section(cfg, 'auto_scale_lr')
    if scaling.get('enable') and scaling.get('base_batch_size') is None:
        raise ConfigError(
            'auto_scale_lr.base_batch_size is missing; give the total batch that the '
            'learning rate is for'
        )
    _check_hooks(cfg)
    _check_file_names(cfg)


def misspelt_sections(cfg: Config) -> dict[str, str]:
    """Settings that nothing reads, each with the name it resembles."""
    runners = inspect.signature(Runner.__init__).parameters
    found = {}
    places = {'': {*runners, *_OURS}, **_READ}
    sections = [(place, _section(cfg, place), known) for place, known in places.items()]
    sections += [
        (f'{_CUSTOM_KEYS}.{name}', value, {'lr_mult', 'decay_mult', 'lars_exclude'})
        for name, value in _section(cfg, _CUSTOM_KEYS).items()
    ]
    for section, values, known in sections:
        for name, value in values.items():
            near = difflib.get_close_matches(name, known, 1, 0.8)
            if near and name not in known and isinstance(value, _PLAIN):
                found[f'{section}.{name}'.lstrip('.')] = f'{section}.{near[0]}'
    return {name: near.lstrip('.') for name, near in found.items()}


def _section(cfg: Config, option: str) -> Mapping:
    """What a section is set to; empty where it is not set, or is no section."""
    found: Any = dict(cfg.items())
    for name in option.split('.') if option else ():
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def explain(error: BaseException, cfg: Config) -> str | None:
    """Say which setting an error comes from, if it comes from building a part.

    Args:
        error (BaseException): What was raised.
        cfg (Config): The config.

    Returns:
        str, optional: One sentence; None where no part was being built.
    """
    resumed = _resumed(error.__traceback__)
    if resumed:
        return (
            f'{resumed} does not fit this run ({type(error).__name__}: {error}); '
            'resume with the config it was trained with, or start from its weights '
            'with --cfg-options load_from=FILE'
        )
    found = list(_places(error.__traceback__, cfg))
    if not found:
        return None
    option, part = found[-1]
    scope = cfg.get('default_scope', 'mmengine')
    kind, text = type_name(part), str(error)
    if 'must contain the key "type"' in text:
        return f'{option} has no type, and nothing that stands in for it'
    unknown = re.search(r"unexpected keyword argument '(\w+)'", text)
    if unknown:
        places = [p for p, inside in _nested(part, option) if unknown[1] in inside]
        taker = _class(part, scope) if option in places else None
        return _unknown(f'{(places or [option])[0]}.{unknown[1]}', taker)
    missing = re.search(r'missing \d+ required positional arguments?: (.*)', text)
    if missing:
        return f'{option} lacks {missing[1]}, which {kind} needs'
    for place, inside in _nested(part, option):
        name = inside.get('type')
        if isinstance(name, str) and _class(inside, scope) is None:
            return f'{place}.type={name!r} is unknown{_nearest_type(name, scope)}'
    absent = re.search(r'([\w.]+) is not in the .* registry', text)
    if absent:
        return f'{option}: {absent[1]!r} is unknown{_nearest_type(absent[1], scope)}'
    if isinstance(error, AssertionError):
        text = text or _failed_line(error)
        if 'out_indices' in text:
            text += '; mmselfsup.ResNet counts stages from 1, those of mmcls from 0'
    if option == 'model.data_preprocessor':
        option += ', or what pipeline and collate_fn of the data loader give it,'
    if isinstance(error, ValueError):  # words for a reader
        return f'{option}: {text}'
    what = f'{option} ({kind})' if kind else option
    return f'{what} does not work: {type(error).__name__}: {text}'


def _unknown(option: str, kind: Callable | None) -> str:
    """What to say of an argument that a class or a function does not take."""
    known = arguments(kind)
    near = difflib.get_close_matches(option.rpartition('.')[2], known, 1)
    name = getattr(kind, '__name__', None)
    taker = f' to {name}' if name else ''
    hint = f'; did you mean {near[0]}?' if near else ''
    return f'{option} is unknown{taker}{hint}'


def _failed_line(error: BaseException) -> str:
    """The line that raised, which is all that a bare assertion says."""
    return traceback.extract_tb(error.__traceback__)[-1].line or ''


def arguments(kind: Callable | None) -> list[str]:
    """Names of the arguments of a class or function, handed-on ones included."""
    names: list[str] = []
    classes = [
        base for base in getattr(kind, '__mro__', ()) if '__init__' in vars(base)
    ]
    for taker in classes or [kind] * (kind is not None):
        function = taker.__init__ if classes else taker
        found = inspect.signature(function).parameters.values()
        by_name = (
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            inspect.Parameter.KEYWORD_ONLY,
        )
        names += [p.name for p in found if p.kind in by_name]
        if not any(p.kind is p.VAR_KEYWORD for p in found):
            break
    return [name for name in names if name != 'self']


def _parts(cfg: Config) -> Iterator[tuple[str, Callable, Mapping]]:
    """Each part with its option, and the class or function that takes it."""
    scope = cfg.get('default_scope', 'mmengine')
    yield '', Runner, dict(cfg.items())
    for section in _SECTIONS:
        for option, part in _nested(cfg.get(section), section):
            kind = _class(part, scope) or next(
                (
                    kind
                    for pattern, kind in _DEFAULTS.items()
                    if fnmatch.fnmatchcase(option, pattern)
                ),
                None,
            )
            if kind is not None:
                yield option, kind, part


def _nested(cfg: Any, option: str) -> Iterator[tuple[str, Mapping]]:
    """Dicts inside a setting, with the option that each is set by."""
    if isinstance(cfg, Mapping):
        yield option, cfg
        wrapper = type_name(cfg) == 'SeededDataset'  # options reach the data inside
        for key, value in cfg.items():
            inside = option if wrapper and key == 'dataset' else f'{option}.{key}'
            yield from _nested(value, inside)
    elif isinstance(cfg, (list, tuple)):
        for number, value in enumerate(cfg):
            yield from _nested(value, f'{option}.{number}')


def _options(cfg: Config) -> Iterator[tuple[str, Any]]:
    """Each setting that is no dict, with its option."""
    for name, value in cfg.items():
        if not isinstance(value, Mapping):
            yield name, value
    for section in (*_SECTIONS, 'auto_scale_lr'):
        for option, part in _nested(cfg.get(section), section):
            for key, value in part.items():
                if not isinstance(value, Mapping):
                    yield f'{option}.{key}', value


def _check_kind(option: str, kind: Callable, name: str, value: Any) -> None:
    """Compare a value with the annotation, or the default, of its argument."""
    found = argument(kind, name)
    if found is None:
        if inspect.isfunction(kind):
            raise ConfigError(_unknown(option, kind))
        return
    words = _kinds(found)
    if 'int' in words and option.startswith('param_scheduler.'):
        words = {*words, 'float'}  # parts of epochs, whatever MMEngine's types say
    if isinstance(value, (list, tuple)) and not kind.__module__.startswith(_EXACT):
        return  # where a number is told of, too
    wanted = _wanted(words)
    if value is None:
        numbers = bool(words) and words <= _NUMBERS
        if numbers and found.default is not None:
            raise ConfigError(f'{option}=None is not possible; give {wanted}')
    elif value == found.default:
        return
    elif _is_refused(words, value):
        if not isinstance(value, str):
            raise ConfigError(f'{option}={value!r} is not possible; give {wanted}')
        quotes = ', without quotes' if _NUMERAL.fullmatch(value.strip()) else ''
        raise ConfigError(f'{option}={value!r} is a string; give {wanted}{quotes}')
    elif isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f'{option}={value!r} is not finite; give {wanted}')


def _is_refused(words: set[str], value: Any) -> bool:
    """Whether a value is of a kind that an annotation of these words excludes."""
    if words and words <= {*_KNOWN, *_NEUTRAL}:
        return not _takes(words, value)
    if isinstance(value, str):
        if words & {'str', 'Any'}:
            return False
        return bool(words & {*_LISTS, *_DICTS}) or bool(
            words & _NUMBERS and _NUMERAL.fullmatch(value.strip())
        )
    structured = words & {*_LISTS, *_DICTS}
    plain = words & {*_NUMBERS, 'Any', 'object'}
    return bool(structured and not plain and isinstance(value, (int, float)))


def _takes(words: set[str], value: Any) -> bool:
    for kinds, names in (
        (bool, {'bool'}),  # before int, of which it is one
        (int, {'int', 'float', 'str'}),  # such as loss_scale='dynamic', or a number
        (float, {'float', 'str'}),
        (str, {'str'}),
        ((list, tuple), {*_LISTS, *_DICTS}),  # of dicts, where one is told of
        (Mapping, _DICTS),
    ):
        if isinstance(value, kinds):
            return bool(words & names)
    return True


def _wanted(words: set[str]) -> str:
    """What an annotation of these words asks for."""
    if words & {'int', 'float'}:
        kinds = ['a whole number' if not words & {'bool', 'float'} else 'a number']
    else:
        kinds = ['True or False'] if 'bool' in words else []
    kinds += ['a list'] * bool(words & _LISTS) + ['a dict'] * bool(words & _DICTS)
    kinds += ['a string'] * ('str' in words)
    return ' or '.join(kinds)


def _kinds(found: inspect.Parameter) -> set[str]:
    """Words of an argument's annotation; without one, the kind of its default."""
    if found.annotation is not found.empty:
        text = inspect.formatannotation(found.annotation)
        return set(re.findall(r'\w+', re.sub(r'ict\[str,', 'ict[', text)))  # no keys
    if isinstance(found.default, (bool, int, float)):
        return {type(found.default).__name__, 'object'}  # and maybe others
    return set()


def _check_range(option: str, value: Any, allowed: Range) -> None:
    try:
        holds = not isinstance(value, bool) and allowed.holds(value)
    except (TypeError, ValueError, OverflowError):
        holds = False
    if not holds:
        raise ConfigError(f'{option}={value!r} is not possible; give {allowed.words}')


def _check_hooks(cfg: Config) -> None:
    """Reject hooks that are no dicts, and a training without what it logs."""
    defaults = cfg.get('default_hooks') or {}
    custom = enumerate(cfg.get('custom_hooks') or ())
    hooks = {f'default_hooks.{name}': hook for name, hook in defaults.items() if hook}
    hooks.update((f'custom_hooks.{number}', hook) for number, hook in custom)
    for option, hook in hooks.items():
        if not isinstance(hook, (Mapping, Hook)):
            raise ConfigError(f'{option}={hook!r} is no hook; give dict(type=...)')
    if defaults.get('runtime_info', ()) is None:
        raise ConfigError(
            'default_hooks.runtime_info=None is not possible, since log and curves '
            'show what it records; leave it out'
        )


def _check_file_names(cfg: Config) -> None:
    """Reject a template that gives every checkpoint the same name."""
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    template = hook.get('filename_tmpl')
    if template is None:
        return
    try:
        fields = [field for _, field, _, _ in Formatter().parse(template)]
        if len([field for field in fields if field is not None]) != 1:
            raise ValueError('it needs one place for the number')
        template.format(1)
    except (ValueError, TypeError, IndexError, KeyError) as error:
        raise ConfigError(
            f'default_hooks.checkpoint.filename_tmpl={template!r} gives no name for a '
            f"checkpoint ({error}); give one such as 'epoch_{{}}.pth'"
        ) from error


def _class(part: Mapping, scope: str) -> type | None:
    """Class of a part, looked up in every registry, as within a scope."""
    name = part.get('type')
    if not isinstance(name, str):
        return name
    for one in _REGISTRIES:
        found = one.get(name) or ('.' not in name and one.get(f'{scope}.{name}'))
        if found:
            return found
    return None


def _nearest_type(name: str, scope: str) -> str:
    owners = {
        known: child.scope
        for one in _REGISTRIES
        for child in (one, *one.children.values())
        for known in child.module_dict
    }
    name = name.rpartition('.')[2]
    if name in owners:
        return f' in default_scope={scope!r}; {owners[name]} has it'
    near = difflib.get_close_matches(name, owners, 1)
    return f'; did you mean {near[0]!r}?' if near else ''


def _places(trace: TracebackType | None, cfg: Config) -> Iterator[tuple[str, Any]]:
    """Options that were being built or were running, the outermost first, and parts."""
    classes: dict[Any, tuple[str, Mapping]] = {}
    for option, kind, part in _parts(cfg):
        if option:
            classes.setdefault(kind, (option, part))
    while trace is not None:
        name, variables = trace.tb_frame.f_code.co_name, trace.tb_frame.f_locals
        given: Any = variables.get(_BUILDERS.get(name, ''))
        own = type(variables.get('self'))
        if isinstance(given, Mapping):
            yield from _find(cfg, given)
        elif own in classes:
            yield classes[own]
        elif name in _READERS:
            yield _READERS[name], cfg.get(_READERS[name])
        trace = trace.tb_next


def _resumed(trace: TracebackType | None) -> str | None:
    """The checkpoint that was being resumed when an error was raised."""
    while trace is not None:
        if trace.tb_frame.f_code is Runner.resume.__code__:
            return trace.tb_frame.f_locals.get('filename')
        trace = trace.tb_next
    return None


def _find(cfg: Config, part: Mapping) -> list[tuple[str, Mapping]]:
    """The option that sets a part, and what it is set to; none if none is like it.

    Its own settings may have been added to, by defaults and what it is built with.
    """

    def agreement(found: Mapping) -> int:
        plain = {k: v for k, v in found.items() if not isinstance(v, Mapping)}
        same = all(key in part and part[key] == v for key, v in plain.items())
        return len(plain) * same

    places = [
        (option, found)
        for section, value in cfg.items()
        for option, found in _nested(value, section)
    ]
    exact = [place for place in places if place[1] == part][:1]
    best = max(places, key=lambda place: agreement(place[1]), default=None)
    return exact or ([best] if best and agreement(best[1]) else [])
