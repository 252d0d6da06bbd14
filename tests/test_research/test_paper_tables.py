"""The paper's tables: what is measured fills its row, and every config has one."""

import json
import re

import pytest

from mmaccel.evaluation.pretraining import Pretraining
from mmaccel.evaluation.recipe import Recipe, read_recipe
from mmaccel.evaluation.tables import to_markdown
from research import paper_tables
from research.paper.layouts import PAPER_TABLES
from research.paper.tables import make_paper_tables
from tests.test_evaluation.test_record import config_of
from tests.test_evaluation.test_tables import IMAGENET, SMALL, lines, record


def rows(tables, number, **labels):
    (table,) = [t for t in tables if t.title.startswith(f'Table {number}: ')]
    return [row for row in lines(table) if labels.items() <= row.items()]


def measured(table, heading):
    """Means by the labels of their rows, where something was measured."""
    at = table.headings.index(heading)
    texts = [[x for x in row[:at] if isinstance(x, str)] for row in table.rows]
    return {tuple(t): row[at].mean for t, row in zip(texts, table.rows) if row[at]}


def test_a_run_fills_every_row_that_shows_it():
    records = [
        record('Accel-MoCo v2', 'PB + HP', seed=i, top1=top1)
        for i, top1 in enumerate((67.0, 67.4, 67.5))
    ]
    tables = make_paper_tables([*records, record('MoCo v2', top1=67.2)])
    (accel,) = rows(tables, 1, method='Accel-MoCo v2', epochs='200')
    assert float(accel['top-1 mean']) == pytest.approx(67.3)
    assert (accel['top-1 n'], accel['protocol']) == ('3', '100 epochs (50000 images)')
    text = to_markdown(tables)
    assert '| Accel-MoCo v2 | 200 | 67.3 ± 0.3 (n=3) |' in text
    assert '| MoCo v2 | 200 | 67.2 (n=1) |' in text
    # the same runs are rows of Tables 4, 5 and 6, and nowhere else
    for number, name in ((4, 'BP-to-Input'), (5, 'Hard Pair'), (6, '+ PB + HP')):
        (same,) = rows(tables, number, method='MoCo v2', variant=name)
        assert same['top-1 n'] == '3'
    filled = [len(measured(t, 'top-1')) for t in tables if 'top-1' in t.headings]
    # upstream's MoCo v2 is Table 10's 224 px, too
    assert filled == [2, 2, 2, 2, 0, 0, 1] and len(tables) == 10


def test_empty_tables_hold_no_figure_but_the_papers_column():
    tables = make_paper_tables([])
    assert [t.title.split(':')[0] for t in tables] == [
        f'Table {n}' for n in range(1, 11)
    ]
    text = to_markdown(tables).partition('## ')[2]
    assert '±' not in text and not re.search(r'\d\d\.\d', text)
    quoted = make_paper_tables([], paper=True)
    for table, plain in zip(quoted, tables):
        papers = {h for h in table.headings if h.startswith('paper ')}
        assert set(table.headings) == papers | set(plain.headings) and papers
        assert not any(measured(table, h) for h in table.headings if h[6:] in papers)
    assert '| MoCo v2 | 800 | 71.1 ± 0.1 |  | 17.2 |  |  |  |  |' in to_markdown(quoted)


def test_every_row_is_reached_by_its_config():
    """The recipe each row looks for is that of the config listed for it."""
    ablations = 'configs/ablations/'
    upstream = 'mmselfsup::selfsup/'
    configs = {
        'configs/accel/mocov1_r50_8xb32.py': {1, 2, 3},
        'configs/accel/mocov2_r50_8xb32.py': {1, 4, 5, 6},
        'configs/accel/simclr_r50_8xb32.py': {1, 2, 3, 4, 5, 6, 7, 8},
        'configs/accel/swav_r50_8xb32.py': {1, 2, 3, 9},
        'configs/accel/swav_r50_8xb32-mcrop-2-4-160-96.py': {9},
        'configs/baselines/swav_r50_8xb32.py': {1, 2, 3, 9},
        'configs/baselines/swav_r50_8xb32-mcrop-2-4-160-96.py': {9},
        f'{upstream}mocov2/mocov2_resnet50_8xb32-coslr-200e_in1k.py': {1, 4, 5, 6, 10},
        f'{upstream}simclr/simclr_resnet50_8xb32-coslr-200e_in1k.py': {
            1, 2, 3, 4, 5, 6, 8
        },
        f'{ablations}mocov2_input-196.py': {10},
        f'{ablations}mocov2_input-128.py': {10},
        f'{ablations}simclr_candidates-1.py': {7},
        f'{ablations}simclr_candidates-4.py': {7},
        f'{ablations}simclr_candidates-10.py': {7},
        f'{ablations}mocov2_cumulative.py': set(),
        f'{ablations}mocov2_truncated-keys.py': set(),
        **{
            f'{ablations}{method}_{name}.py': {number}
            for method in ('mocov2', 'simclr')
            for number, names in {
                4: ('skipping', 'nearby-block'),
                5: ('easy-pair', 'hard-example', 'random-pair'),
                6: ('pb', 'hp'),
            }.items()
            for name in names
        },
    }  # fmt: skip
    reached = set()
    for config, numbers in configs.items():
        recipe = read_recipe(config_of(config))
        epochs = config_of(config).train_cfg.max_epochs
        found = {
            (table.number, row.labels)
            for table in PAPER_TABLES
            for row in table.rows
            if (row.method, row.variant, row.views, row.epochs)
            == (recipe.method, recipe.variant, recipe.views, epochs)
        }
        assert {number for number, _ in found} == numbers, config
        reached |= found
    left = {(t.number, r.labels) for t in PAPER_TABLES for r in t.rows} - reached
    by_epochs = {r for r in left if '800' in r[1] or r[1][0].endswith('MoCo v2')}
    others = {(n, ('Supervised',)) for n in (2, 3)}
    v1 = {(1, ('MoCo', '200')), (2, ('MoCo',)), (3, ('MoCo',))}
    assert left == by_epochs | others | v1
    assert len(by_epochs) == 6  # the same configs, 800 epochs


def test_other_results_follow_in_plain_tables():
    records = [
        record('MoCo v2', epochs=100, top1=60.0),
        record('MoCo v2', place=SMALL, dataset='CIFAR-10', top1=80.0),
        record('Accel-MoCo v2', 'PB', place=SMALL, dataset='CIFAR-10', top1=79.0),
        record('MoCo v2', frozen=False, top1=75.0),
    ]
    tables = make_paper_tables(records)
    assert not any(measured(t, 'top-1') for t in tables[:10] if 'top-1' in t.headings)
    ablation, cifar, imagenet = tables[10:]
    assert 'CIFAR-10: ablation, as Table 6 (ResNet_CIFAR-18, 200' in ablation.title
    assert measured(ablation, 'top-1') == {
        ('MoCo v2', 'upstream'): 80,
        ('MoCo v2', '+ PB'): 79,
    }
    for table, means in ((cifar, [79, 80]), (imagenet, [60, 75])):
        assert table.title.endswith(': linear classification')
        assert sorted(measured(table, 'top1').values()) == means


def test_views_on_other_data():
    large = ('2×32 + 4×16', *SMALL[1:])
    records = [
        record('SwAV 2×32', '', SMALL, dataset='CIFAR-10', top1=70.0),
        record('Accel-SwAV 2×32', 'PB + HP', SMALL, dataset='CIFAR-10', top1=71.0),
        record('SwAV 2×32 + 4×16', '', large, dataset='CIFAR-10', top1=72.0),
    ]
    (table,) = [t for t in make_paper_tables(records) if 'as Table 9' in t.title]
    assert measured(table, 'top-1') == {
        ('2×32', '200'): 70,
        ('2×32, Accel', '200'): 71,
        ('2×32 + 4×16', '200'): 72,
    }


def test_protocols_have_rows_unless_each_backbone_has_one():
    given = dict(task='detection', dataset='VOC07', epochs=800, n=4952)
    area = record(protocol='area', metrics=dict(AP=46.0, AP50=77.0), **given)
    points = record(protocol='11-point', metrics=dict(AP=44.0, AP50=75.0), **given)
    trained = record(
        protocol='area', metrics=dict(AP=50.0, AP50=80.0), frozen=False, **given
    )
    names = ('protocol', 'AP50, frozen mean', 'AP50 mean')
    two = rows(make_paper_tables([area, points, trained]), 3, method='MoCo v2')
    assert [tuple(row[name] for name in names) for row in two] == [
        ('11-point (4952 images)', '75.0', ''),
        ('area (4952 images)', '77.0', '80.0'),
    ]
    one = [area, dict(trained, protocol='area, 24k iterations')]
    (row,) = rows(make_paper_tables(one), 3, method='MoCo v2')
    assert (row['AP50, frozen mean'], row['AP50 mean']) == ('77.0', '80.0')


def test_training_times():
    recipe = Recipe('MoCo v2', '', *IMAGENET)
    runs = [
        Pretraining(str(i), recipe, 200, days * 86400.0, 8, device)
        for i, (days, device) in enumerate([(2, 'X'), (4, 'X'), (1, 'Y')])
    ]
    (row,) = rows(make_paper_tables([], runs[:2]), 1, method='MoCo v2', epochs='200')
    assert (row['days mean'], row['GPU-days mean']) == ('3.0', '24.0')
    assert (row['GPU-days n'], row['device']) == ('2', '8 × X')
    # of several devices a result belongs to none
    tables = make_paper_tables([record(top1=60.0)], runs)
    three = rows(tables, 1, method='MoCo v2', epochs='200')
    assert [(r['top-1 mean'], r['device'], r['days mean']) for r in three] == [
        ('60.0', '', ''),
        ('', '8 × X', '3.0'),
        ('', '8 × Y', '1.0'),
    ]
    assert len(tables[-1].rows) == 2


def test_supervised_row():
    recipe = Recipe('Supervised', '', '', 'ResNet-50', 'ImageNet')._asdict()
    metrics = dict(mIoU=76.5, aAcc=85.1)
    given = dict(task='segmentation', dataset='VOC12Aug', recipe=recipe, epochs=None)
    tables = make_paper_tables([record(metrics=metrics, **given)])
    (row,) = rows(tables, 2, method='Supervised')
    assert row['mIoU, frozen mean'] == '76.5' and row['mIoU mean'] == ''


def test_the_command_prints_and_writes(tmp_path, capsys):
    (tmp_path / 'a').mkdir()
    result = json.dumps(record('Accel-SimCLR', 'PB + HP', top1=62.5))
    (tmp_path / 'a' / 'result.json').write_text(result)
    assert paper_tables.main([str(tmp_path), '--paper']) == 0
    printed = capsys.readouterr().out
    assert '| Accel-SimCLR | 200 | 62.9 ± 0.2 | 62.5 (n=1) | 2.8 |' in printed
    out = tmp_path / 'out'
    assert paper_tables.main([str(tmp_path / 'a'), '--out', str(out)]) == 0
    assert '| paper ' not in (out / 'tables.md').read_text()
    assert len(list(out.glob('*.csv'))) == 10
    assert paper_tables.main([str(out)]) == 1
    assert 'neither a result.json' in capsys.readouterr().err
