"""The package that mmaccel is a plugin of, and all that differs from one to the other.

MMSelfSup ended with 1.0.0; MMPretrain took its algorithms over, under other names. A
config says by its ``default_scope`` which of them it is for. Components of mmaccel are
registered in MMEngine's own registries, so that both find them by their bare names;
what the hosts give (backbones, necks, transforms, data sets) is built in the scope of
the current one.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from mmengine.config import Config
from mmengine.registry import DefaultScope, Registry


@dataclass(frozen=True)
class Host:
    """What one package calls the things that mmaccel needs of it.

    Attributes:
        name (str): Of its module, and of its scope.
        labels (str): Scope of its classification data sets, transforms and backbones.
        momentum_of_old (bool): MoCo's ``momentum`` is the share of the old weights
            that is kept (0.999), not that of the new ones (0.001).
        pack (str): The transform that ends a pipeline.
        to_rgb (str): Setting of the preprocessor that turns BGR to RGB.
        blur, solarize (str): Transforms with a probability of their own.
        visualizer (str): What its runs log with.
        sinkhorn (str): Module that defines ``distributed_sinkhorn``.
        swav_hook (str): Module that defines ``SwAVHook``.
    """

    name: str
    labels: str
    momentum_of_old: bool
    pack: str
    to_rgb: str
    blur: str
    solarize: str
    visualizer: str
    sinkhorn: str
    swav_hook: str

    @property
    def is_installed(self) -> bool:
        """Whether the package is there; it is not imported."""
        return find_spec(self.name) is not None

    def module(self, path: str) -> Any:
        """Import one of its modules, such as ``self.sinkhorn``."""
        return import_module(f'{self.name}.{path}')

    def labelled(self) -> dict:
        """Config of the transform that packs an image and its ``gt_label``."""
        keys = dict(algorithm_keys=['gt_label']) if self is MMSELFSUP else {}
        return dict(type=self.pack, **keys)

    def update_rate(self, momentum: float | None) -> float:
        """Share of the new weights in MoCo's moving average.

        Args:
            momentum (float, optional): As a config of this host has it, in (0, 1).
                None is upstream's default, a rate of 0.001.

        Raises:
            ValueError: If it can only be meant as the other host's.
        """
        if momentum is None:
            return 0.001
        meant = 'kept of the old' if self.momentum_of_old else 'taken from the new'
        if not 0 <= momentum <= 1:
            raise ValueError(
                f'momentum={momentum} is not possible; it is the share of the weights '
                f'that is {meant} ones in each step: a number from 0 to 1'
            )
        rate = 1 - momentum if self.momentum_of_old else momentum
        if rate > 0.5:
            raise ValueError(
                f'momentum={momentum} would follow the query encoder almost at once: '
                f'in {self.name} it is the share {meant} weights. Set '
                f'model.momentum={round(1 - momentum, 12)}'
            )
        return rate


MMSELFSUP = Host(
    name='mmselfsup',
    labels='mmcls',
    momentum_of_old=True,
    pack='PackSelfSupInputs',
    to_rgb='bgr_to_rgb',
    blur='RandomGaussianBlur',
    solarize='RandomSolarize',
    visualizer='SelfSupVisualizer',
    sinkhorn='utils.distributed_sinkhorn',
    swav_hook='engine.hooks.swav_hook',
)
MMPRETRAIN = Host(
    name='mmpretrain',
    labels='mmpretrain',
    momentum_of_old=False,
    pack='PackInputs',
    to_rgb='to_rgb',
    blur='GaussianBlur',
    solarize='Solarize',
    visualizer='UniversalVisualizer',
    sinkhorn='models.losses.swav_loss',
    swav_hook='engine.hooks.swav_hook',
)
HOSTS = (MMSELFSUP, MMPRETRAIN)


def installed() -> tuple[Host, ...]:
    """Hosts that are installed, MMSelfSup first.

    Raises:
        ImportError: If none is.
    """
    found = tuple(host for host in HOSTS if host.is_installed)
    if not found:
        raise ImportError(
            'neither mmselfsup nor mmpretrain is installed; mmaccel is a plugin of '
            "one of them: pip install 'mmaccel[mmselfsup]' or 'mmaccel[mmpretrain]'"
        )
    return found


def named(scope: str | None) -> Host | None:
    """The host whose scope this is, None for another package's."""
    return next((host for host in HOSTS if scope in (host.name, host.labels)), None)


def current() -> Host:
    """The host of the current scope; in another package's, the first installed one."""
    scope = DefaultScope.get_current_instance()
    return (named(scope.scope_name) if scope else None) or installed()[0]


def default_scope(cfg: Config | Mapping) -> str:
    """The scope of a config, by default that of the first installed host."""
    return cfg.get('default_scope') or installed()[0].name


@contextmanager
def scope(cfg: Config | Mapping | None = None) -> Iterator[None]:
    """Look names up as a config says, or in a host where none has said it.

    Args:
        cfg (Config or Mapping, optional): The whole config. Without one the current
            scope stays.
    """
    name = None
    if cfg is not None:
        name = default_scope(cfg)
    elif DefaultScope.get_current_instance() is None:
        name = installed()[0].name
    with DefaultScope.overwrite_default_scope(name):
        yield


def build(registry: Registry, cfg: dict, **defaults: Any) -> Any:
    """Build what a config names, of the current scope or of mmaccel."""
    with scope():
        return registry.build(cfg, **defaults)


def answer_scoped_names() -> None:
    """Let the hosts find mmaccel's components as ``mmselfsup.AccelMoCo``, too.

    A registry looks up a name that has its own scope in itself alone, not in MMEngine's
    registries. Older configs have such names.

    Note:
        Adds to the registries of the installed hosts.
    """
    for package in installed():
        for registry in vars(package.module('registry')).values():
            if isinstance(registry, Registry) and registry.parent is not None:
                for name, component in registry.parent.module_dict.items():
                    if component.__module__.partition('.')[0] == 'mmaccel':
                        registry.register_module(name, force=True, module=component)


def of(cfg: Config | Mapping) -> Host:
    """The host of a config; of another package's, the first installed one."""
    return named(cfg.get('default_scope')) or installed()[0]


def find(registry: Registry, name: str) -> Any:
    """Return the class of a name in the current scope, None where there is none."""
    with scope(), registry.switch_scope_and_registry(None) as scoped:
        return scoped.get(name)


def prepared(preprocessor: Any, batch: Any, training: bool) -> tuple[list, Any]:
    """What a host's data preprocessor makes of a batch.

    Returns:
        tuple: Views (N, C, H, W), and the data samples or None. MMSelfSup's gives a
        pair, MMPretrain's a dict, with one view as it is.
    """
    data = preprocessor(batch, training)
    if isinstance(data, dict):
        data = data['inputs'], data.get('data_samples')
    inputs, samples = data
    return list(inputs) if isinstance(inputs, (list, tuple)) else [inputs], samples


def crop_size(crop: Any) -> tuple[int, int]:
    """Rows and columns that a host's ``RandomResizedCrop`` gives."""
    return tuple(crop.size if hasattr(crop, 'size') else crop.scale)


def crop_box(crop: Any, image: Any) -> tuple[int, int, int, int]:
    """Draw the box of a host's ``RandomResizedCrop``: top, left, bottom, right.

    The last row and column are within it. Only the image's shape is read.

    Note:
        Draws from NumPy's global random state.
    """
    if hasattr(crop, 'get_params'):  # MMSelfSup
        return crop.get_params(image, crop.scale, crop.ratio, crop.max_attempts)
    top, left, rows, columns = crop.rand_crop_params(image)
    return top, left, top + rows - 1, left + columns - 1


def blur_range(blur: Any) -> tuple[float, float]:
    """Least and greatest standard deviation of a host's Gaussian blur, in pixels.

    Raises:
        ValueError: If it is not uniform between two bounds.
    """
    if hasattr(blur, 'sigma_min'):  # MMSelfSup
        return blur.sigma_min, blur.sigma_max
    if blur.magnitude_range is None:
        return blur.radius, blur.radius
    if blur.magnitude_std != 'inf' or blur.magnitude_level != blur.total_level:
        raise ValueError("magnitude_std='inf' and magnitude_level=total_level")
    return blur.magnitude_range


def solarize_threshold(transform: Any) -> float:
    """Value from which a host's solarisation inverts pixels.

    Raises:
        ValueError: If it is drawn anew for each image.
    """
    threshold = getattr(transform, 'threshold', getattr(transform, 'thr', None))
    if threshold is None:
        raise ValueError('thr')
    return float(threshold)
