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
import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from string import Formatter
from types import TracebackType
from typing import Any, NamedTuple

from mmengine import registry
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import Registry
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmaccel.errors import ConfigError

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
)
_REGISTRIES = [one for one in vars(registry).values() if isinstance(one, Registry)]

#: Top-level settings that tools read, beside those of the runner.
_OURS = ('auto_scale_lr', 'fast_views', 'test_size', 'baseline', 'custom_imports')
_PLAIN = (dict, list, tuple, str, int, float)  # and no import of a new-style config
_NUMBERS = {'bool', 'int', 'float'}
_NONE = {'None', 'NoneType', 'Optional', 'Union', 'typing'}
_LISTS = {'Sequence', 'List', 'list', 'Tuple', 'tuple'}
_WANTED = {'bool': 'True or False', 'int': 'a whole number'}
_NUMERAL = re.compile(r'[-+]?[\d.]+(e[-+]?\d+)?|True|False|None')

#: MMEngine's functions that build a part, and what they call its config.
_BUILDERS = {
    'build_from_cfg': 'cfg',
    '_build_param_scheduler': 'scheduler',
    'build_dataloader': 'dataloader',
    'build_optim_wrapper': 'optim_wrapper',
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


#: By option, with patterns; what is None, or absent, is left to its constructor.
_RANGES = {
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
    '*_dataloader.batch_size': _count(1),
    '*_dataloader.num_workers': _count(0),
    'train_cfg.max_epochs': _count(1),
    'train_cfg.max_iters': _count(1),
    'train_cfg.val_interval': _count(1),
    'optim_wrapper.accumulative_counts': _count(1),
    'optim_wrapper.optimizer.lr': _number(0),
    'optim_wrapper.optimizer.momentum': _number(0, 1),
    'optim_wrapper.optimizer.weight_decay': _number(0),
    'optim_wrapper.clip_grad.max_norm': _number(0, open_=True),
    'param_scheduler.*.T_max': _count(1),
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
    for name, near in misspelt_sections(cfg).items():
        print_log(
            f'Nothing reads the setting {name}; did you mean {near}?',
            logger='current',
            level=logging.WARNING,
        )
    for option, kind, part in _parts(cfg):
        for name, value in part.items():
            if name != 'type':
                _check_kind(f'{option}.{name}', kind, name, value)
    for option, value in _options(cfg):
        for pattern, allowed in _RANGES.items():
            if value is not None and fnmatch.fnmatchcase(option, pattern):
                _check_range(option, value, allowed)
    _check_file_names(cfg)


def misspelt_sections(cfg: Config) -> dict[str, str]:
    """Top-level settings that nothing reads, each with the name it resembles."""
    known = {*inspect.signature(Runner.__init__).parameters, *_OURS}
    found = {
        name: difflib.get_close_matches(name, known, 1, 0.8)
        for name, value in cfg.items()
        if name not in known and isinstance(value, _PLAIN)
    }
    return {name: near[0] for name, near in found.items() if near}


def explain(error: BaseException, cfg: Config) -> str | None:
    """Say which setting an error comes from, if it comes from building a part.

    Args:
        error (BaseException): What was raised.
        cfg (Config): The config.

    Returns:
        str, optional: One sentence; None where no part was being built.
    """
    building = [
        (option, part)
        for frame_part in _parts_in_traceback(error.__traceback__)
        for option, part in [_find(cfg, frame_part)]
        if option
    ]
    if not building:
        return None
    option, part = building[-1]
    scope = cfg.get('default_scope', 'mmengine')
    kind, text = type_name(part), str(error)
    unknown = re.search(r"unexpected keyword argument '(\w+)'", text)
    if unknown:
        name = unknown[1]
        near = difflib.get_close_matches(name, arguments(_class(part, scope)), 1)
        instead = f'; did you mean {near[0]}?' if near else ''
        return f'{option}.{name} is unknown to {kind}{instead}'
    missing = re.search(r'missing \d+ required positional arguments?: (.*)', text)
    if missing:
        return f'{option} lacks {missing[1]}, which {kind} needs'
    for place, inside in _nested(part, option):
        name = inside.get('type')
        if isinstance(name, str) and _class(inside, scope) is None:
            return f'{place}.type={name!r} is unknown{_nearest_type(name)}'
    absent = re.search(r'([\w.]+) is not in the .* registry', text)
    if absent:
        return f'{option}: {absent[1]!r} is unknown{_nearest_type(absent[1])}'
    if isinstance(error, AssertionError):
        text = text or _failed_line(error)
        if 'out_indices' in text:
            text += '; mmselfsup.ResNet counts stages from 1, those of mmcls from 0'
    if isinstance(error, ValueError):  # words for a reader
        return f'{option}: {text}'
    return f'{option} ({kind}) cannot be built: {type(error).__name__}: {text}'


def _failed_line(error: BaseException) -> str:
    """The line that raised, which is all that a bare assertion says."""
    return traceback.extract_tb(error.__traceback__)[-1].line or ''


def arguments(kind: type | None) -> list[str]:
    """Names of the arguments of a class's constructor, handed-on ones included."""
    names: list[str] = []
    for base in getattr(kind, '__mro__', ()):
        if '__init__' in vars(base):
            found = inspect.signature(base.__init__).parameters.values()
            by_name = (
                inspect.Parameter.POSITIONAL_OR_KEYWORD,
                inspect.Parameter.KEYWORD_ONLY,
            )
            names += [p.name for p in found if p.kind in by_name]
            if not any(p.kind is p.VAR_KEYWORD for p in found):
                break
    return [name for name in names if name != 'self']


def _parts(cfg: Config) -> Iterator[tuple[str, type, Mapping]]:
    """Each part that a class is built from, with its option."""
    scope = cfg.get('default_scope', 'mmengine')
    for section in _SECTIONS:
        for option, part in _nested(cfg.get(section), section):
            kind = _class(part, scope)
            if kind is None and option.endswith('_dataloader'):
                kind = DataLoader
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
    for section in (*_SECTIONS, 'auto_scale_lr'):
        for option, part in _nested(cfg.get(section), section):
            for key, value in part.items():
                if not isinstance(value, Mapping):
                    yield f'{option}.{key}', value


def _check_kind(option: str, kind: type, name: str, value: Any) -> None:
    """Compare a value with the annotation, or the default, of its argument."""
    found = argument(kind, name)
    if found is None or isinstance(value, Mapping):
        return
    words = _kinds(found)
    numbers = sorted(words & _NUMBERS)
    only = bool(numbers) and words <= {*_NUMBERS, *_NONE}
    wanted = _WANTED.get(' '.join(numbers), 'a number')
    if value is None:
        if only and not words & _NONE and found.default is not None:
            raise ConfigError(f'{option}=None is not possible; give {wanted}')
    elif isinstance(value, str):
        if 'str' in words or 'Any' in words:
            return
        if numbers and (only or _NUMERAL.fullmatch(value.strip())):
            raise ConfigError(
                f'{option}={value!r} is a string; give {wanted}, without quotes'
            )
        if words & _LISTS:
            raise ConfigError(f'{option}={value!r} is a string; give a list')
    elif only and numbers == ['bool']:
        if not isinstance(value, bool):
            raise ConfigError(f'{option}={value!r} is neither True nor False')
    elif only and 'bool' not in numbers:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ConfigError(f'{option}={value!r} is no number; give {wanted}')
        if not math.isfinite(value) and value != found.default:
            raise ConfigError(f'{option}={value!r} is not finite; give {wanted}')


def _kinds(found: inspect.Parameter) -> set[str]:
    """Words of an argument's annotation; without one, the kind of its default."""
    if found.annotation is not found.empty:
        return set(re.findall(r'\w+', inspect.formatannotation(found.annotation)))
    if isinstance(found.default, (bool, int, float)):
        return {type(found.default).__name__, 'object'}  # and maybe others
    return set()


def _check_range(option: str, value: Any, allowed: Range) -> None:
    try:
        holds = not isinstance(value, (str, bool)) and allowed.holds(value)
    except (TypeError, ValueError, OverflowError):
        holds = False
    if not holds:
        raise ConfigError(f'{option}={value!r} is not possible; give {allowed.words}')


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


def _nearest_type(name: str) -> str:
    known = set()
    for one in _REGISTRIES:
        known |= {n for r in (one, *one.children.values()) for n in r.module_dict}
    near = difflib.get_close_matches(name.rpartition('.')[2], known, 1)
    return f'; did you mean {near[0]!r}?' if near else ''


def _parts_in_traceback(trace: TracebackType | None) -> Iterator[Mapping]:
    """Parts that were being built when an error was raised, the outermost first."""
    while trace is not None:
        frame = trace.tb_frame
        if frame.f_code.co_name in _BUILDERS:
            part = frame.f_locals.get(_BUILDERS[frame.f_code.co_name])
            if isinstance(part, Mapping):
                yield part
        trace = trace.tb_next


def _find(cfg: Config, part: Mapping) -> tuple[str, Mapping]:
    """The option that sets a part, ``''`` where the config has none like it."""
    for section, value in cfg.items():
        for option, found in _nested(value, section):
            if found == part:
                return option, found
    return '', part
