"""The figures of a transfer experiment, where they can be gathered."""

from __future__ import annotations

from typing import Mapping

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmselfsup.registry import HOOKS as MMSELFSUP_HOOKS

from mmaccel.errors import ConfigError
from mmaccel.evaluation.recipe import parse_config
from mmaccel.evaluation.record import write_record

from ..config import dicts


@HOOKS.register_module()
@MMSELFSUP_HOOKS.register_module()
class ResultHook(Hook):
    """Write a training's final accuracy to ``result.json`` in its work directory.

    Linear evaluation, detection and segmentation log their metrics each under names of
    its own package. ``tools/analysis_tools/collect_results.py`` gathers the records
    that this hook writes into one table. It is found from every scope, with and
    without ``mmselfsup.`` before its name, so that configs of mmcls, mmdet and mmseg
    can all have it.

    The record holds the last validation of a training that came to its end, or a run
    of ``tools/test.py``.

    Args:
        task (str): ``'linear'``, ``'stages'``, ``'detection'`` or ``'segmentation'``.
        dataset (str): What was evaluated on, such as ``'ImageNet'``.
        protocol (str): How, in a few words. Settings of the config may be named in
            braces, such as ``'{train_cfg.max_epochs} epochs'``, so that the record is
            right where they are overridden.
        metrics (dict[str, str]): Logged name to the record's, such as
            ``{'accuracy/top1': 'top1'}``.
        frozen (bool): Whether the backbone was kept as pretrained. Defaults to True.
        scale (float): Factor to percent, 100 where a metric is logged as a share.
            Defaults to 1.

    Raises:
        ConfigError: At a validation that lacks one of the metrics.

    Note:
        The pretraining checkpoint is that of the model's ``init_cfg``; when a
        checkpoint of the transfer is tested, that of the config saved in it.
    """

    # behind those that change what is logged
    priority = 'LOWEST'

    def __init__(
        self,
        task: str,
        dataset: str,
        protocol: str,
        metrics: dict[str, str],
        frozen: bool = True,
        scale: float = 1.0,
    ) -> None:
        self.task = task
        self.dataset = dataset
        self.protocol = protocol
        self.metrics = dict(metrics)
        self.frozen = frozen
        self.scale = scale
        self._latest: dict[str, float] | None = None
        self._loaded: str | None = None

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Note where the weights of a loaded checkpoint once came from."""
        text = checkpoint.get('meta', {}).get('cfg')
        if isinstance(text, str):
            self._loaded = _pretrained(parse_config(text))

    def after_val_epoch(self, runner, metrics: dict | None = None) -> None:
        """Keep the figures; the last ones count."""
        self._latest = self._select(metrics or {})

    def after_train(self, runner) -> None:
        """Write the last validation's figures."""
        if self._latest is not None:
            self._write(runner, self._latest, runner.val_loop)

    def after_test_epoch(self, runner, metrics: dict | None = None) -> None:
        """Write the figures of a tested checkpoint."""
        self._write(runner, self._select(metrics or {}), runner.test_loop)

    def _select(self, metrics: dict) -> dict[str, float]:
        missing = [name for name in self.metrics if name not in metrics]
        if missing:
            raise ConfigError(
                f'ResultHook finds no {" and no ".join(missing)} among the metrics '
                f'({", ".join(metrics) or "none"}); correct its metrics in custom_hooks'
            )
        return {
            new: float(metrics[old]) * self.scale for old, new in self.metrics.items()
        }

    def _write(self, runner, metrics: dict[str, float], loop) -> None:
        if runner.rank != 0:
            return
        path = write_record(
            runner.work_dir,
            self.task,
            metrics,
            config=runner.cfg.filename or '',
            dataset=self.dataset,
            protocol=self.protocol.format_map(runner.cfg),
            n=len(loop.dataloader.dataset),
            frozen=self.frozen,
            pretrained=_pretrained(runner.cfg) or self._loaded,
            seed=runner.seed,
        )
        runner.logger.info(f'Result: {path}')


def _pretrained(cfg: Mapping) -> str | None:
    """The checkpoint that a model's config starts from, if any."""
    for node in dicts(cfg.get('model')):
        if node.get('type') == 'Pretrained' and node.get('checkpoint'):
            return str(node['checkpoint'])
    return None
