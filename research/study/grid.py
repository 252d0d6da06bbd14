"""A grid of pretrainings: what each run trains, and how it is recognised again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, fields
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmaccel.engine.config import load_config
from mmaccel.engine.config_reader import DECISIVE
from mmaccel.errors import ConfigError
from mmaccel.evaluation.cached_features import hash_text

#: Images on which final features can be evaluated.
EVALUATION_SPLITS = ('held_out', 'test')

_WIDTH = 64  # channels of the first stage of a ResNet
_DECISIVE = (*DECISIVE, 'train_dataloader')
_PRECISIONS = (None, 'bf16', 'fp16')
_AXES = ('methods', 'variants', 'epochs', 'seeds')
_NAMED = ('group', 'config', 'epochs', 'seed')  # arguments that these lists settle


@dataclass(frozen=True)
class Run:
    """One pretraining and how it is evaluated.

    Args:
        group (str): Method, variant and length, such as ``'mocov2/paper-200e'``; what
            its seeds have in common.
        config (str): The config it starts from.
        seed (int): Of everything random.
        epochs (int): Of the whole schedule.
        options (Mapping): Settings of the config that differ.
        width (int): Channels of the first stage; the others and the projectors keep
            their proportion to it. Defaults to 64, a ResNet's.
        amp (str, optional): ``'bf16'`` or ``'fp16'``.
        evaluate_on (Sequence[str]): Splits on which the final features are evaluated,
            by kNN with all training images and by a linear probe: ``'held_out'``,
            ``'test'``. Defaults to none; the curve is there in any case.
        stages (bool): Whether the probe evaluates every stage's features. Defaults to
            False.
        spread (bool): Whether it is measured how far projections lie apart at the end
            (``tools/analysis_tools/measure_spread.py``). Defaults to False.

    Raises:
        ConfigError: If an argument is out of range, whatever comes of it taking hours.
    """

    group: str
    config: str
    seed: int
    epochs: int
    options: Mapping[str, Any] = field(default_factory=dict)
    width: int = _WIDTH
    amp: str | None = None
    evaluate_on: tuple[str, ...] = ()
    stages: bool = False
    spread: bool = False

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ('amp', self.amp, _PRECISIONS),
            *(('evaluate_on', split, EVALUATION_SPLITS) for split in self.evaluate_on),
        ):
            if value not in allowed:
                raise ConfigError(
                    f'{self.name}: {name} is {value!r}; use one of {allowed}'
                )
        for name in ('epochs', 'width'):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ConfigError(
                    f'{self.name}: {name} is {value!r}; it must be a whole number, '
                    '1 or more'
                )

    @property
    def name(self) -> str:
        """Such as ``'mocov2/paper-200e/0'``, the last being the seed."""
        return f'{self.group}/{self.seed}'

    @cached_property
    def key(self) -> str:
        """Hash of everything that the training depends on, the data's place excepted.

        What is logged and saved, and how the result is evaluated, do not count.
        """
        cfg = self.build()._cfg_dict.to_dict()
        settings = {name: cfg[name] for name in _DECISIVE if name in cfg}
        settings['knn'] = cfg['default_hooks']['knn']
        # the last two stood for its evaluation; without them no record fits its run
        return hash_text([settings, self.seed, self.amp, (), False])[:16]

    @property
    def probes(self) -> tuple[str, str]:
        """Metrics of the final features."""
        return 'knn', 'stages' if self.stages else 'linear'

    def status(self, record: Mapping[str, Any] | None) -> str:
        """What a record, if there is one, says of this run.

        Returns:
            str: ``'missing'``, ``'failed'``, ``'ok'``, or ``'trained'`` where it is yet
            to be evaluated on a split that the record lacks, or its spread measured.
        """
        if record is None or record['status'] != 'ok':
            return 'missing' if record is None else 'failed'
        done = all(self.is_evaluated(split, record) for split in self.evaluate_on)
        done = done and (not self.spread or 'spread' in record)
        return 'ok' if done else 'trained'

    def is_evaluated(self, split: str, record: Mapping[str, Any]) -> bool:
        """Whether a record has this run's metrics on a split.

        A probe of all stages includes the linear one, that of the last.
        """
        found = set(record.get(split, ()))
        return found >= {'knn', 'stages'} or found >= set(self.probes)

    def build(self, data_root: str | None = None) -> Config:
        """The run's config.

        Args:
            data_root (str, optional): Folder that holds ``train/``. By default the
                config's.
        """
        cfg = load_config(self.config)
        narrow(cfg.model, self.width)
        cfg.merge_from_dict(deepcopy(dict(self.options)))  # it changes what it merges
        shorten(cfg, self.epochs)
        if data_root is not None:
            monitor = cfg.default_hooks.knn
            for loader in (
                cfg.train_dataloader,
                monitor.train_dataloader,
                monitor.test_dataloader,
            ):
                loader.dataset.data_root = str(Path(data_root, 'train'))
        return cfg


def shorten(cfg: Config, epochs: int) -> None:
    """Give a schedule another length, each part of it keeping its share."""
    factor = epochs / cfg.train_cfg.max_epochs
    cfg.train_cfg.max_epochs = epochs
    for scheduler in cfg.param_scheduler:
        for name in ('begin', 'end', 'T_max'):
            if name in scheduler:
                scheduler[name] = round(scheduler[name] * factor, 6)


def narrow(model: dict, width: int) -> None:
    """Give a network of 64 channels in its first stage another width.

    Raises:
        ConfigError: If channels do not divide evenly.
    """
    for part, names in (
        ('backbone', ('base_channels', 'stem_channels')),
        ('neck', ('in_channels', 'hid_channels')),
    ):
        for name in names:
            before = model[part].get(name, _WIDTH if part == 'backbone' else None)
            if before is not None:
                model[part][name] = _scaled(before, width)


def _scaled(channels: Any, width: int) -> Any:
    if not isinstance(channels, int):
        return tuple(_scaled(c, width) for c in channels)
    if channels * width % _WIDTH:
        raise ConfigError(
            f'width={width} leaves no whole channels of {channels}; use another, '
            f'such as {_WIDTH // 2}'
        )
    return channels * width // _WIDTH


def read_grid(path: str) -> list[Run]:
    """Read a grid file, a config with these names:

    * ``variants``: name to the settings that differ from the method's config,
    * ``config``: a config's path with ``{method}`` and ``{accel}``, which is
      ``'accel-'``, or nothing where a variant's name begins with ``baseline``,
    * ``common``: arguments of :class:`Run` for all,
    * ``runs``: a list of dicts with ``methods``, ``variants``, ``epochs`` and ``seeds``
      (by default 0 alone), each of which stands for all their combinations, and further
      arguments of :class:`Run`, which replace the common ones.

    ``options`` are added up: the common ones, those of the entry, the variant's, of
    which the later win.

    The group of a run is called ``method/variant-<epochs>e``.

    Raises:
        ConfigError: If there is no such file, it declares no runs, a list is missing
            or empty, an argument is unknown or out of range, a variant is not declared,
            or two runs have one name.
    """
    runs = [_run(path, *declared) for declared in _declared(path)]
    names = [run.name for run in runs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(
            f'{path} has two runs called {", ".join(twice)}; declare each once'
        )
    return runs


def read_variants(path: str) -> dict[str, tuple[Run, Run]]:
    """Every variant of a grid's runs, and the plain baseline of its method and size.

    Returns:
        dict[str, tuple]: ``method/variant`` to one run of each.

    Raises:
        ConfigError: As :func:`read_grid`, or if the grid does not say what
            ``baseline`` is.
    """
    found = {}
    for grid, entry, method, variant, epochs, seed in _declared(path):
        run, plain = (
            _run(path, grid, entry, method, name, epochs, seed)
            for name in (variant, 'baseline')
        )
        found[f'{method}/{variant}'] = run, plain
    return found


def _declared(path: str) -> Iterator[tuple[dict, dict, str, str, int, int]]:
    """A grid, and the entry, method, variant, epochs and seed of each of its runs."""
    if not Path(path).is_file():
        raise ConfigError(f'there is no grid {path}; grids are in research/grids')
    grid = Config.fromfile(path)._cfg_dict.to_dict()
    if not grid.get('runs'):
        raise ConfigError(f'{path} has no runs; a grid is a config with a list of them')
    for name in ('variants', 'config'):
        if name not in grid:
            raise ConfigError(
                f'{path} has no {name}; research/grids/variants.py, as its _base_, has'
            )
    for entry in grid['runs']:
        entry.setdefault('seeds', [0])
        wrong = [name for name in _AXES if not _is_filled_list(entry.get(name))]
        if wrong:
            raise ConfigError(
                f'{path}: {entry} needs a list of {", ".join(wrong)}; runs are '
                'declared by lists of methods, variants, epochs and seeds'
            )
        axes = [entry.pop(name) for name in _AXES]
        for values in product(*axes):
            yield (grid, entry, *values)


def _run(
    path: str,
    grid: dict,
    entry: dict,
    method: str,
    variant: str,
    epochs: int,
    seed: int,
) -> Run:
    if variant not in grid['variants']:
        raise ConfigError(
            f'{path} does not say what {variant} is; add it to its variants'
        )
    common = grid.get('common', {})
    merged = {**common, **entry}
    known = sorted({f.name for f in fields(Run)} - set(_NAMED))
    unknown = sorted(set(merged) - set(known))
    if unknown:
        raise ConfigError(
            f'{path}: {method}/{variant}: {", ".join(unknown)} is not understood; '
            f'beside its lists a run has {", ".join(known)}'
        )
    merged['evaluate_on'] = tuple(merged.get('evaluate_on', ()))
    merged['options'] = {
        **common.get('options', {}),
        **entry.get('options', {}),
        **grid['variants'][variant],
    }
    return Run(
        group=f'{method}/{variant}-{epochs}e',
        config=_config(path, grid['config'], method, variant),
        epochs=epochs,
        seed=seed,
        **merged,
    )


def _config(path: str, template: str, method: str, variant: str) -> str:
    accel = '' if variant.startswith('baseline') else 'accel-'
    try:
        return template.format(method=method, accel=accel)
    except (KeyError, IndexError, ValueError) as error:
        raise ConfigError(
            f'{path}: the config {template!r} is not possible; {{method}} and '
            '{accel} are filled in'
        ) from error


def _is_filled_list(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) > 0
