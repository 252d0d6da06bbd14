"""What the budget says of accuracy is what the study and the paper say."""

import re
from pathlib import Path

import pytest

from mmaccel.analysis.evidence import PAPER, STUDY, evidence_of
from mmaccel.engine.config import load_config
from research.paper.layouts import PAPER_TABLES

REPORT = Path(__file__).parents[2] / 'research' / 'report.md'


@pytest.mark.parametrize('result', STUDY.values(), ids=lambda result: result.row)
def test_the_studys_figures_are_those_of_its_report(result):
    report = REPORT.read_text(encoding='utf-8').partition('| 16 epochs |')[2]
    (row,) = re.findall(rf'^\| {re.escape(result.row)} \|.*$', report, re.M)[:1]
    cells = [cell.strip() for cell in row.split('|')]
    assert result.knn in cells and result.time in cells


@pytest.mark.parametrize('method', PAPER)
def test_the_papers_figures_are_those_of_its_table(method):
    epochs, *figures = PAPER[method]
    rows = {r.method: r.figures for r in PAPER_TABLES[0].rows if r.epochs == epochs}
    assert tuple(figures) == rows[method] + rows[f'Accel-{method}']


@pytest.mark.parametrize(
    ('path', 'words'),
    [
        ('configs/accel/mocov2_r50_8xb32.py', "the paper's Table 1, 200 epochs"),
        ('configs/accel/swav_r50_8xb32.py', 'as they report: top-1 70.7'),
        ('configs/accel/swav_r50_8xb32-mcrop-2-4-160-96.py', '−21.8 points of kNN'),
        ('configs/small/accel-mocov2_r18_cifar10.py', '−24.3 points of kNN in 0.77'),
        ('configs/small/accel-mocov2_r18_cifar10-freeze.py', '−0.4 points of kNN'),
        ('configs/small/accel-simclr_r18_cifar10-best.py', 'in 0.69 of the time'),
        ('configs/accel/simclr_r50_8xb32-exact.py', 'up to rounding'),
        ('configs/small/accel-mocov2_r18_cifar10-best.py', 'in 0.64 of the time'),
        ('configs/small/mocov2_r18_cifar10.py', 'the reference'),
        ('configs/ablations/mocov2_pb.py', 'nothing was measured of it'),
    ],
)
def test_each_way_to_train_has_its_sentence(path, words):
    assert words in evidence_of(load_config(path))


def test_other_settings_have_not_the_evidence_of_the_papers_own():
    cfg = load_config('configs/accel/mocov2_r50_8xb32.py')
    cfg.model.negatives = 'batch'
    assert evidence_of(cfg) == 'nothing was measured of it'
