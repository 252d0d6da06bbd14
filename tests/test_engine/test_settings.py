"""Settings against constructors and ranges: no config that works is refused."""

import copy
import functools
from pathlib import Path

import pytest
from mmengine.utils import get_installed_path

from mmaccel.engine.config import load_config
from mmaccel.engine.config_reader import is_pretraining
from mmaccel.engine.settings import check_settings, misspelt_sections
from mmaccel.errors import ConfigError

ROOT = Path(__file__).parents[2] / 'configs'
UPSTREAM = Path(get_installed_path('mmselfsup'), '.mim', 'configs', 'selfsup')
OWN = [
    path
    for folder in ('accel', 'ablations', 'baselines', 'small')
    for path in sorted((ROOT / folder).glob('*.py'))
]
METHODS = ('mocov1', 'mocov2', 'mocov3', 'simclr', 'swav', 'byol', 'simsiam', 'mae')
THEIRS = [p for m in METHODS for p in sorted((UPSTREAM / m).glob('*.py'))]


read = functools.lru_cache(load_config)


@pytest.mark.parametrize('path', [*OWN, *THEIRS], ids=lambda path: path.stem)
def test_every_shipped_config_is_accepted(path, caplog):
    cfg = read(str(path))
    assert is_pretraining(cfg) and not misspelt_sections(cfg)
    check_settings(cfg)


@pytest.mark.parametrize('path', OWN, ids=lambda path: path.stem)
@pytest.mark.parametrize(
    ('option', 'value'),
    [
        ('model.head.temperature', -1),
        ('optim_wrapper.optimizer.lr', '0.03'),
        ('train_cfg.max_epochs', 0),
    ],
)
def test_every_config_of_ours_is_checked(path, option, value):
    if 'swav' in path.stem:
        option = option.replace('head.temp', 'head.loss.temp')
    cfg = copy.deepcopy(read(str(path)))
    cfg.merge_from_dict({option: value})
    with pytest.raises(ConfigError, match=option):
        check_settings(cfg)
