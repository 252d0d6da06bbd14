"""VOC detection metrics as papers report them, named by their protocol."""

from mmdet.evaluation.functional import average_precision, eval_map
from mmdet.evaluation.metrics import VOCMetric
from mmdet.registry import METRICS
from mmengine.logging import MMLogger

_PROTOCOLS = {'11point': '11points', 'area': 'area'}  # MMDetection's word for each


@METRICS.register_module()
class VOCAPMetric(VOCMetric):
    """AP, AP50 and AP75 in percent, by both of VOC's protocols.

    MMDetection's VOC metric rounds to three digits and has one overlap. The paper's
    table 3 has AP50 and the mean over ten overlaps, to hundredths of a percent.
    VOC2007's protocol, and Detectron2, which the paper used, take the precision at
    eleven recalls; VOC2010 and later take the area below the curve. The two differ by
    several points, so each name has its protocol: ``voc07_11point/AP50``,
    ``voc07_area/AP50``.

    Matching is MMDetection's: a detection is assigned to the box it overlaps most, at
    an overlap of the threshold or more, once per box; corners are pixels, both
    included; difficult objects are ignored; classes without objects are left out of the
    mean.

    Args:
        data (str): What the figures' names start with. Defaults to ``'voc07'``.
        collect_device (str): Where the processes' results meet, ``'cpu'`` or
            ``'gpu'``. Defaults to ``'cpu'``.
    """

    def __init__(self, data: str = 'voc07', collect_device: str = 'cpu') -> None:
        super().__init__(
            iou_thrs=[percent / 100 for percent in range(50, 100, 5)],
            collect_device=collect_device,
        )
        self.data = data
        self.prefix = None  # each figure's name says it

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Match at each overlap, then average over classes and overlaps.

        Args:
            results (list): For each image its objects and, by class, its detections.

        Returns:
            dict[str, float]: ``AP``, ``AP50`` and ``AP75`` of either protocol, in
            percent.
        """
        logger = MMLogger.get_current_instance()
        objects, detections = zip(*results)
        means: dict[str, list[float]] = {protocol: [] for protocol in _PROTOCOLS}
        for iou_thr in self.iou_thrs:
            _, classes = eval_map(
                detections,
                objects,
                iou_thr=iou_thr,
                dataset=self.dataset_meta['classes'],
                logger=logger if iou_thr == 0.5 else 'silent',  # one table of classes
                eval_mode='11points',
                use_legacy_coordinate=True,
            )
            present = [c for c in classes if c['num_gts'] > 0]
            for protocol, mode in _PROTOCOLS.items():
                aps = [
                    float(average_precision(c['recall'], c['precision'], mode))
                    for c in present
                ]
                means[protocol].append(100 * sum(aps) / max(len(aps), 1))

        metrics = {}
        for protocol, by_overlap in means.items():
            figures = dict(
                AP=sum(by_overlap) / len(by_overlap),
                AP50=by_overlap[self.iou_thrs.index(0.5)],
                AP75=by_overlap[self.iou_thrs.index(0.75)],
            )
            text = ', '.join(f'{name} {value:.2f}' for name, value in figures.items())
            logger.info(
                f'{self.data}, {protocol} protocol, {len(results)} images: {text}'
            )
            for name, value in figures.items():
                metrics[f'{self.data}_{protocol}/{name}'] = value
        return metrics
