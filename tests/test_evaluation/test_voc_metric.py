"""The figures equal those of plain loops over the same predictions."""

import pytest
import torch

from mmaccel.evaluation.voc_metric import VOCAPMetric

CLASSES = ('disc', 'square', 'triangle', 'never')


def draw_images(seed, number=9):
    """Objects, some difficult, with near, doubled, wrong and missing detections."""
    draw = torch.Generator().manual_seed(seed)

    def rand(*shape):
        return torch.rand(shape, generator=draw)

    samples = []
    for _ in range(number):
        count = int(rand(1) * 6)
        corners = rand(count, 2) * 60
        boxes = torch.cat([corners, corners + 8 + rand(count, 2) * 30], dim=1)
        labels = (rand(count) * 3).long()
        difficult = rand(count) < 0.25
        near = torch.cat([boxes, boxes, boxes[:1]])
        near = near + (rand(*near.shape) - 0.5) * 8
        stray = rand(3, 2) * 60
        stray = torch.cat([stray, stray + 8 + rand(3, 2) * 30], dim=1)
        found = torch.cat([near, stray])
        found_labels = torch.cat([labels, labels, labels[:1], (rand(3) * 3).long()])
        wrong = rand(len(found)) < 0.15
        found_labels[wrong] = (found_labels[wrong] + 1) % 3
        kept = rand(len(found)) < 0.8
        samples.append(
            dict(
                gt_instances=dict(bboxes=boxes[~difficult], labels=labels[~difficult]),
                ignored_instances=dict(
                    bboxes=boxes[difficult], labels=labels[difficult]
                ),
                pred_instances=dict(
                    bboxes=found[kept],
                    labels=found_labels[kept],
                    scores=rand(int(kept.sum())),
                ),
            )
        )
    return samples


def measure(samples):
    metric = VOCAPMetric()
    metric.dataset_meta = dict(classes=CLASSES, dataset_type='VOC2007')
    for sample in samples:
        metric.process({}, [sample])
    return metric.evaluate(len(samples))


def overlap(a, b):
    """Corners are pixels and belong to the box, as in VOC's development kit."""
    width = min(a[2], b[2]) - max(a[0], b[0]) + 1
    height = min(a[3], b[3]) - max(a[1], b[1]) + 1
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(c[2] - c[0] + 1) * (c[3] - c[1] + 1) for c in (a, b)]
    return width * height / (sum(areas) - width * height)


def plain_ap(samples, label, threshold, eleven_points):
    """One class's average precision, detection by detection; None without objects."""
    objects = 0
    ranked = []
    for number, sample in enumerate(samples):
        objects += int((sample['gt_instances']['labels'] == label).sum())
        found = sample['pred_instances']
        for box, own, score in zip(found['bboxes'], found['labels'], found['scores']):
            if own == label:
                ranked.append((float(score), number, box.tolist()))
    if objects == 0:
        return None
    taken = set()
    hits = 0
    counted = 0
    curve = []  # (hits, precision)
    for _, number, box in sorted(ranked, reverse=True):
        best, best_overlap = None, 0.0
        for kind in ('gt_instances', 'ignored_instances'):
            group = samples[number][kind]
            for i, (other, own) in enumerate(zip(group['bboxes'], group['labels'])):
                if own == label and overlap(box, other.tolist()) > best_overlap:
                    best, best_overlap = (number, kind, i), overlap(box, other.tolist())
        if best is not None and best_overlap >= threshold:
            if best[1] == 'ignored_instances':
                continue  # difficult: neither right nor wrong
            if best not in taken:
                taken.add(best)
                hits += 1
        counted += 1
        curve.append((hits, hits / counted))
    if eleven_points:
        # 3 * 0.1 is above 0.3, so 3 of 10 objects fall short of the fourth point; both
        # Detectron2 and MMDetection have it so
        at = [
            max((p for n, p in curve if n / objects >= step * 0.1), default=0.0)
            for step in range(11)
        ]
        return sum(at) / 11
    return sum(
        max(p for n, p in curve if n >= hit) / objects for hit in range(1, hits + 1)
    )


@pytest.mark.parametrize('seed', range(3))
def test_figures_equal_plain_loops(seed):
    samples = draw_images(seed)
    metrics = measure(samples)

    assert len(metrics) == 6
    for protocol in ('11point', 'area'):
        by_overlap = {}
        for percent in range(50, 100, 5):
            aps = [
                plain_ap(samples, label, percent / 100, protocol == '11point')
                for label in range(len(CLASSES))
            ]
            assert aps[3] is None
            aps = [ap for ap in aps if ap is not None]
            by_overlap[percent] = 100 * sum(aps) / len(aps)
        expected = {
            'AP': sum(by_overlap.values()) / 10,
            'AP50': by_overlap[50],
            'AP75': by_overlap[75],
        }
        assert 0 < expected['AP'] < expected['AP50'] < 100
        for name, value in expected.items():
            key = f'voc07_{protocol}/{name}'
            assert metrics[key] == pytest.approx(value, abs=1e-4), key


def test_boxes_include_both_corners():
    # 20 x 20 pixels, 15 of 20 rows found: 0.75 with the corner's pixel, less without
    def instances(*boxes):
        return dict(bboxes=torch.tensor(boxes), labels=torch.zeros(len(boxes)).long())

    sample = dict(
        gt_instances=instances((10.0, 10, 29, 29)),
        ignored_instances=dict(bboxes=torch.zeros(0, 4), labels=torch.zeros(0).long()),
        pred_instances=dict(instances((10.0, 10, 29, 24)), scores=torch.tensor([0.9])),
    )
    metrics = measure([sample] * 2)
    assert metrics['voc07_area/AP75'] == pytest.approx(100)
    assert metrics['voc07_area/AP'] == pytest.approx(60)  # 0.50 to 0.75 of ten
