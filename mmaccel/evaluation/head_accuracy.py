"""Accuracy of one of several classifiers on the same backbone."""

from collections.abc import Sequence
from typing import Any

from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS

from mmaccel import host


@METRICS.register_module()
class HeadAccuracy(BaseMetric):
    """Accuracy of one classifier of MMSelfSup's ``MultiClsHead``.

    Upstream's config names a ``MultiHeadEvaluator`` that MMSelfSup 1.0 does not have.
    One metric per classifier, each with its own ``prefix``, does the same.

    Args:
        head (int): The classifier: 0 is the stem's, i that of stage i.
        **kwargs: As for ``Accuracy`` of mmcls, or of MMPretrain.
    """

    default_prefix = 'accuracy'

    def __init__(self, head: int, **kwargs: Any) -> None:
        self._field = f'head{head}_pred_label'
        accuracy = f'{host.current().labels}.Accuracy'
        self._accuracy = host.build(METRICS, dict(type=accuracy, **kwargs))
        super().__init__(self._accuracy.collect_device, self._accuracy.prefix)

    def process(self, data_batch: object, data_samples: Sequence[dict]) -> None:
        """Read the classifier's scores where those of a single one would be."""
        self._accuracy.process(
            data_batch, [dict(s, pred_label=s[self._field]) for s in data_samples]
        )
        self.results = self._accuracy.results

    def compute_metrics(self, results: list) -> dict:
        """Compute the accuracy over all images."""
        return self._accuracy.compute_metrics(results)
