"""Accuracy of one of several classifiers on the same backbone."""

from collections.abc import Sequence
from typing import Any

from mmcls.evaluation.metrics import Accuracy
from mmselfsup.registry import METRICS


@METRICS.register_module()
class HeadAccuracy(Accuracy):
    """Accuracy of one classifier of MMSelfSup's ``MultiClsHead``.

    Upstream's config names a ``MultiHeadEvaluator`` that MMSelfSup 1.0 does not have.
    One metric per classifier, each with its own ``prefix``, does the same.

    Args:
        head (int): The classifier: 0 is the stem's, i that of stage i.
        **kwargs: As for :class:`mmcls.evaluation.Accuracy`.
    """

    def __init__(self, head: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._field = f'head{head}_pred_label'

    def process(self, data_batch: object, data_samples: Sequence[dict]) -> None:
        """Read the classifier's scores where those of a single one would be."""
        super().process(
            data_batch, [dict(s, pred_label=s[self._field]) for s in data_samples]
        )
