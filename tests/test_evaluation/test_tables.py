"""mmaccel.evaluation.tables against a table computed by hand."""

import csv
import io
import re

import pytest

from mmaccel.engine.config import load_config
from mmaccel.evaluation.paper import PAPER_TABLES
from mmaccel.evaluation.pretraining import Pretraining
from mmaccel.evaluation.recipe import Recipe, read_recipe, recognise_classifier
from mmaccel.evaluation.table_formats import file_name, to_csv, to_json, to_markdown
from mmaccel.evaluation.tables import make_tables
from tests.test_evaluation.test_record import config_of

IMAGENET = ('2×224', 'ResNet-50', 'ImageNet')
SMALL = ('2×32', 'ResNet_CIFAR-18', 'CIFAR-10')


def record(
    method='MoCo v2', variant='', place=IMAGENET, task='linear', seed=0, **changes
):
    metrics = changes.pop('metrics', None) or {'top1': changes.pop('top1')}
    epochs = changes.pop('epochs', 200)
    given = dict(
        task=task,
        method=method,
        pretrain=f'{method}{variant}{place}{epochs}',
        pretrain_epochs=epochs,
        recipe=Recipe(method, variant, *place)._asdict(),
        seed=seed,
        frozen=True,
        dataset='ImageNet',
        metrics=metrics,
        protocol='100 epochs',
        config='linear.py',
        n=50000,
    )
    return dict(given, **changes)


def rows(tables, number):
    (table,) = [t for t in tables if t.number == number]
    header, *lines = csv.reader(io.StringIO(to_csv(table)))
    return [dict(zip(header, line)) for line in lines]


def row_of(tables, number, **labels):
    found = [r for r in rows(tables, number) if labels.items() <= r.items()]
    assert len(found) == 1
    return found[0]


def markdown_row(tables, start):
    return [x for x in to_markdown(tables).splitlines() if x.startswith(f'| {start} |')]


def test_mean_and_deviation_by_hand():
    # 67.0, 67.4, 67.5: mean 67.3, squares 0.09 + 0.01 + 0.04, / 2 = 0.07, root 0.2646
    records = [
        record('Accel-MoCo v2', 'PB + HP', seed=i, top1=top1)
        for i, top1 in enumerate((67.0, 67.4, 67.5))
    ]
    records += [record('MoCo v2', top1=67.2)]
    tables = make_tables(records)
    accel = row_of(tables, 1, method='Accel-MoCo v2', epochs='200')
    assert float(accel['top-1 mean']) == pytest.approx(67.3)
    assert float(accel['top-1 std']) == pytest.approx(0.07**0.5)
    assert accel['top-1 n'] == '3'
    once = row_of(tables, 1, method='MoCo v2', epochs='200')
    assert (once['top-1 mean'], once['top-1 std'], once['top-1 n']) == ('67.2', '', '1')

    (line,) = markdown_row(tables, 'Accel-MoCo v2 | 200')
    assert '| 67.3 ± 0.3 (n=3) |' in line
    (line,) = markdown_row(tables, 'MoCo v2 | 200')
    assert '| 67.2 (n=1) |' in line and '±' not in line
    # the same runs are rows of Tables 4, 5 and 6, and nowhere else
    for number, name in ((4, 'BP-to-Input'), (5, 'Hard Pair'), (6, '+ PB + HP')):
        same = row_of(tables, number, method='MoCo v2', variant=name)
        assert same['top-1 n'] == '3'
    filled = [
        (t.number, r.labels) for t in tables for r in t.rows if r.cells and t.number
    ]
    assert len(filled) == 2 + 3 * 2 + 1  # Table 10's 224 px is upstream's MoCo v2
    assert len(tables) == 10


def test_empty_tables_hold_no_figure_but_the_papers_column():
    tables = make_tables([])
    assert [t.number for t in tables] == list(range(1, 11))
    text = to_markdown(tables).partition('## ')[2]
    assert '±' not in text and not re.search(r'\d\d\.\d', text)
    for table in tables:
        own = to_csv(table, paper=True).splitlines()
        header = own[0].split(',')
        for line in csv.reader(own[1:]):
            for name, cell in zip(next(csv.reader([own[0]])), line):
                measured = name.endswith((' mean', ' std', ' n'))
                assert not (measured and cell), (table.title, name)
        assert any('paper' in name for name in header)
    quoted = to_markdown(tables, paper=True)
    assert '| MoCo v2 | 800 | 71.1 ± 0.1 |  | 17.2 |  |  |  |' in quoted
    objects = to_json(tables, paper=True)
    assert objects[0]['rows'][0]['ours'] == {
        'top-1': None,
        'days': None,
        'GPU-days': None,
    }


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


def test_other_results_stay_apart():
    records = [
        record('MoCo v2', epochs=100, top1=60.0),
        record('Accel-MoCo v2', 'PB + HP + cumulative', top1=66.0),
        record('MoCo v2', place=SMALL, dataset='CIFAR-10', top1=80.0),
        record('Accel-MoCo v2', 'PB', place=SMALL, dataset='CIFAR-10', top1=79.0),
        record('MoCo v2', place=SMALL, top1=30.0),  # a small network on ImageNet
        record('MoCo v2', frozen=False, top1=75.0),
    ]
    tables = make_tables(records)
    assert not any(row.cells for t in tables for row in t.rows if t.number)
    titles = {t.title: t for t in tables if t.number is None}
    further = titles.pop('ImageNet: linear classification, further results')
    assert sorted(row.cells['top-1'].mean for row in further.rows) == [30, 60, 66]
    cifar = titles.pop('CIFAR-10: linear classification')
    assert sorted(row.cells['top-1'].mean for row in cifar.rows) == [79, 80]
    tuned = titles.pop('ImageNet: fine-tuning')
    assert [row.cells['top-1'].mean for row in tuned.rows] == [75]
    ((title, ablation),) = titles.items()
    assert title.startswith('CIFAR-10: ablation, as Table 6 (ResNet_CIFAR-18, 200')
    values = {r.labels: r.cells['top-1'].mean for r in ablation.rows if r.cells}
    assert values == {('MoCo v2', 'upstream'): 80, ('MoCo v2', '+ PB'): 79}
    assert file_name(cifar) == 'cifar-10-linear-classification'


def test_unknown_pretrainings_are_not_averaged():
    unknown = dict(recipe=None, epochs=None, dataset='CIFAR-10')
    records = [
        record('epoch_9', top1=50.0, pretrain='byol/epoch_9.pth', **unknown),
        record('epoch_9', top1=60.0, pretrain='simsiam/epoch_9.pth', **unknown),
        record('epoch_9', top1=62.0, pretrain='simsiam/epoch_9.pth', seed=1, **unknown),
    ]
    for config, top1 in (('r18.py', 30.0), ('r50.py', 40.0)):
        random = dict(unknown, pretrain=None, config=config)
        records.append(record('random weights', top1=top1, **random))
    (table,) = [t for t in make_tables(records) if t.dataset == 'CIFAR-10']
    assert {row.labels[-1]: row.cells['top-1'].values for row in table.rows} == {
        'byol/epoch_9.pth': (50,),
        'simsiam/epoch_9.pth': (60, 62),
        'nothing (r18.py)': (30,),
        'nothing (r50.py)': (40,),
    }


def test_views_on_other_data():
    records = [
        record(m, v, ('2×32', *SMALL[1:]), dataset='CIFAR-10', top1=top1)
        for m, v, top1 in (
            ('SwAV 2×32', '', 70.0),
            ('Accel-SwAV 2×32', 'PB + HP', 71.0),
        )
    ]
    large = ('2×32 + 4×16', *SMALL[1:])
    records += [record('SwAV 2×32 + 4×16', '', large, dataset='CIFAR-10', top1=72.0)]
    (table,) = [t for t in make_tables(records) if 'as Table 9' in t.title]
    assert {row.labels[0]: row.cells['top-1'].mean for row in table.rows} == {
        '2×32': 70,
        '2×32, Accel': 71,
        '2×32 + 4×16': 72,
    }


def test_protocols_sizes_and_repeats_are_not_averaged():
    area, points = 'area', '11-point'
    given = dict(task='detection', dataset='VOC07', epochs=800)
    records = [
        record(protocol=area, metrics=dict(AP=46.0, AP50=77.0), n=4952, **given),
        record(protocol=points, metrics=dict(AP=44.0, AP50=75.0), n=4952, **given),
        record(
            protocol=area,
            metrics=dict(AP=50.0, AP50=80.0),
            n=4952,
            frozen=False,
            **given,
        ),
    ]
    records += [dict(records[0], path='copied/result.json')]
    two = [r for r in rows(make_tables(records), 3) if r['method'] == 'MoCo v2']
    assert [r['protocol'] for r in two] == [
        '11-point (4952 images)',
        'area (4952 images)',
    ]
    assert [r['AP50, frozen mean'] for r in two] == ['75.0', '77.0']
    assert [r['AP50, frozen n'] for r in two] == ['1', '1']
    assert [r['AP50 mean'] for r in two] == ['', '80.0']

    one = [records[0], dict(records[2], protocol='area, 24k iterations')]
    (row,) = [r for r in rows(make_tables(one), 3) if r['method'] == 'MoCo v2']
    assert (row['AP50, frozen mean'], row['AP50 mean']) == ('77.0', '80.0')


def test_hyper_parameters_are_not_averaged():
    recipe = Recipe('MoCo v2', '', *IMAGENET)
    records, runs = [], []
    for settings, top1 in (('short', 67.0), ('short', 67.4), ('long', 70.0)):
        folder = f'{settings}/{len(runs)}'
        runs.append(Pretraining(folder, recipe, 200, 864e2 * top1, 8, 'X', settings))
        pretrain = f'{folder}/epoch_200.pth'
        records.append(record(top1=top1, pretrain=pretrain, settings=settings))
    tables = make_tables(records, runs)
    found = [r for r in rows(tables, 1) if r['method'] == 'MoCo v2']
    found = [r for r in found if r['epochs'] == '200']
    assert [(r['top-1 mean'], r['top-1 n']) for r in found] == [
        ('70.0', '1'),
        ('67.2', '2'),
    ]
    assert [(r['days mean'], r['days n']) for r in found] == [
        ('70.0', '1'),
        ('67.2', '2'),
    ]
    assert [r['protocol'].partition('; ')[2] for r in found] == [
        'pretrained in long/2',
        'pretrained in short/0',
    ]
    assert [len(t.rows) for t in tables if t.title == 'Pretraining time'] == [2]
    for given in records[2], records[0]:
        del given['settings']  # of before they were recorded
    (row,) = [r for r in rows(make_tables(records), 10) if r['top-1 n']]
    assert row['top-1 n'] == '3'


def test_supervised_row():
    def resnet(depths, bottleneck):
        state = {
            f'layer{i}.{j}.conv{k}.weight': range(64)
            for i, depth in enumerate(depths, 1)
            for j in range(depth)
            for k in range(1, 4 if bottleneck else 3)
        }
        return dict(state, **{'fc.weight': range(1000)})

    recipe = recognise_classifier(resnet((3, 4, 6, 3), True))
    assert recipe == ('Supervised', '', '', 'ResNet-50', 'ImageNet')
    assert recognise_classifier(resnet((2, 2, 2, 2), False)).arch == 'ResNet-18'
    assert recognise_classifier({'fc.weight': range(10)}) is None
    result = record(
        task='segmentation',
        dataset='VOC12Aug',
        metrics=dict(mIoU=76.5, aAcc=85.1),
        recipe=recipe._asdict(),
        epochs=None,
    )
    row = row_of(make_tables([result]), 2, method='Supervised')
    assert row['mIoU, frozen mean'] == '76.5' and row['mIoU mean'] == ''
    trained = load_config('mmcls::resnet/resnet50_8xb32_in1k.py')
    assert read_recipe(trained) == recipe
    trained.model.backbone.init_cfg = dict(type='Pretrained', checkpoint='x.pth')
    assert read_recipe(trained) is None


def test_training_time():
    recipe = Recipe('MoCo v2', '', *IMAGENET)
    runs = [
        Pretraining('a', recipe, 200, 2 * 86400.0, 8, 'NVIDIA TITAN V'),
        Pretraining('b', recipe, 200, 4 * 86400.0, 8, 'NVIDIA TITAN V'),
        Pretraining('c', recipe, 100, 86400.0, 8, 'NVIDIA TITAN V'),
    ]
    tables = make_tables([], runs)
    row = row_of(tables, 1, method='MoCo v2', epochs='200')
    assert (row['days mean'], row['GPU-days mean']) == ('3.0', '24.0')
    assert row['GPU-days n'] == '2' and row['device'] == '8 × NVIDIA TITAN V'
    assert float(row['GPU-days std']) == pytest.approx(8 * 2**0.5)
    assert [len(t.rows) for t in tables if t.title == 'Pretraining time'] == [2]
