"""Building the runner of a config."""

from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from .weights import check_pretrained


def build_runner(cfg: Config) -> Runner:
    """Build the config's runner, MMEngine's unless ``runner_type`` names another.

    Raises:
        ConfigError: If the config is a training's and pretrained weights do not fit.
    """
    custom = 'runner_type' in cfg
    runner: Runner = RUNNERS.build(cfg) if custom else Runner.from_cfg(cfg)  # type: ignore[arg-type]
    if runner._train_loop is not None and runner._load_from is None:
        check_pretrained(runner.model)
    return runner
