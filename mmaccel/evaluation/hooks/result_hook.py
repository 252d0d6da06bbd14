"""Records of the results of transfer experiments."""

from mmengine.config import Config
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import BaseLoop, Runner

from mmaccel.engine.config_reader import dicts
from mmaccel.engine.epoch_sampler import images_per_rank
from mmaccel.errors import ConfigError

from ..record import write_record

_INFO = 'transfer'  # in the message hub, and so in checkpoints


@HOOKS.register_module()
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
            braces, such as ``'{train_cfg.max_epochs} epochs'``, and ``{total_batch}``,
            the images of all ranks per iteration, so that the record is right where
            they are overridden.
        metrics (dict[str, str]): Logged name to the record's, such as
            ``{'accuracy/top1': 'top1'}``.
        frozen (bool): Whether the backbone was kept as pretrained. Defaults to True.
        scale (float): Factor to percent, 100 where a metric is logged as a share.
            Defaults to 1.

    Raises:
        ConfigError: At a validation that lacks one of the metrics.

    Note:
        The pretraining checkpoint is that of the model's ``init_cfg``. It is saved in
        the transfer's checkpoints with protocol and seed, so that a run that is resumed
        or tested still knows them.
    """

    # after those that change what is logged
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
        self._tested: dict = {}  # what a tested checkpoint says of its training

    def before_train(self, runner: Runner) -> None:
        """Note what was trained, in the checkpoints too.

        Raises:
            ConfigError: If the protocol names a setting that the config lacks.
        """
        earlier = runner.message_hub.get_info(_INFO) or {}  # a resumed run's
        images = images_per_rank(runner.train_dataloader) or 0
        settings = dict(runner.cfg, total_batch=images * get_world_size())
        try:
            protocol = self.protocol.format_map(settings)
        except (KeyError, AttributeError) as error:
            raise ConfigError(
                f'the protocol of ResultHook, {self.protocol!r}, names a setting that '
                'the config does not have; correct it in custom_hooks'
            ) from error
        runner.message_hub.update_info(
            _INFO,
            dict(
                **(_pretrained(runner.cfg) or _weights(earlier)),
                protocol=protocol,
                seed=earlier.get('seed', runner.seed),
            ),
        )

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Learn from a tested checkpoint what was trained."""
        hub = checkpoint.get('message_hub') or {}
        self._tested = hub.get('runtime_info', {}).get(_INFO) or {}

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        """Keep the figures; the last ones count."""
        self._latest = self._select(metrics or {})

    def after_train(self, runner: Runner) -> None:
        """Write the last validation's figures.

        A run that was killed in its last validation comes here, resumed, without any:
        its last checkpoint is that of the end.
        """
        if self._latest is None and runner.val_loop is not None:
            runner.val_loop.run()
        if self._latest is not None:
            about = runner.message_hub.get_info(_INFO)
            self._write(runner, self._latest, runner.val_loop, about)

    def after_test_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        """Write the figures of a tested checkpoint."""
        about = self._tested or dict(
            **(_pretrained(runner.cfg) or _weights({})),
            protocol=self.protocol,
            seed=None,
        )
        self._write(runner, self._select(metrics or {}), runner.test_loop, about)

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

    def _write(
        self, runner: Runner, metrics: dict[str, float], loop: BaseLoop, about: dict
    ) -> None:
        if runner.rank != 0:
            return
        path = write_record(
            runner.work_dir,
            self.task,
            metrics,
            config=runner.cfg.filename or '',
            dataset=self.dataset,
            n=len(loop.dataloader.dataset),
            frozen=self.frozen,
            **about,
        )
        runner.logger.info(f'Result: {path}')


def _pretrained(cfg: Config) -> dict[str, str] | None:
    """The weights that a model's config starts from, if any."""
    for node in dicts(cfg.get('model')):
        if node.get('type') == 'Pretrained' and node.get('checkpoint'):
            return _weights(
                dict(pretrained=str(node['checkpoint']), prefix=node.get('prefix'))
            )
    return None


def _weights(about: dict) -> dict:
    """What tells the weights, of all that is known of a training."""
    return dict(pretrained=about.get('pretrained'), prefix=about.get('prefix') or '')
