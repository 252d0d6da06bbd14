"""Plain tables of results against means worked out by hand; what is kept apart."""

import csv
import io
import json
from pathlib import Path

import pytest
import torch

from mmaccel.engine.config import load_config
from mmaccel.errors import ConfigError
from mmaccel.evaluation import write_record
from mmaccel.evaluation.curves import read_scalars
from mmaccel.evaluation.pretraining import Pretraining
from mmaccel.evaluation.recipe import Recipe, read_recipe, recognise_classifier
from mmaccel.evaluation.tables import gather, make_tables, to_csv
from tests.folder_run import write_config, write_images
from tests.processes import exit_code
from tests.test_evaluation.test_curves import point, write

IMAGENET = ('2×224', 'ResNet-50', 'ImageNet')
SMALL = ('2×32', 'ResNet_CIFAR-18', 'CIFAR-10')
CFG = """\
model = dict(
    type='AccelMoCo',
    backbone=dict(type='ResNet', depth=18),
    neck=dict(type='IntermediateNeck'),
    crop_layer=dict(type='HardPairCropLayer'))
custom_hooks = [dict(type='PartialBackpropHook')]
train_cfg = dict(max_epochs=2)
train_dataloader = dict(dataset=dict(type='UnlabelledFolder', data_root='x/flowers/'))
"""
LOG = """
System environment:
    CUDA available: True
    GPU 0,1: NVIDIA H200
Runtime environment:
    GPU number: 2
"""


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


def lines(table):
    """Rows of a table as its CSV file has them."""
    return [*csv.DictReader(io.StringIO(to_csv(table)))]


def only(records, runs=()):
    """Rows of the table that comes first."""
    return lines(make_tables(records, runs)[0])


def picked(found, *names):
    return [tuple(row[name] for name in names) for row in found]


def test_mean_and_deviation_by_hand():
    # 67.0, 67.4, 67.5: mean 67.3, squares 0.09 + 0.01 + 0.04, / 2 = 0.07, root 0.2646
    records = [record(seed=i, top1=x) for i, x in enumerate((67.0, 67.4, 67.5))]
    records += [record('Accel-MoCo v2', 'PB + HP', top1=67.2)]
    once, seeds = only(records)
    assert float(seeds['top1 mean']) == pytest.approx(67.3)
    assert float(seeds['top1 std']) == pytest.approx(0.07**0.5)
    assert picked([seeds, once], 'top1 n', 'variant') == [('3', ''), ('1', 'PB + HP')]
    assert (once['top1 mean'], once['top1 std']) == ('67.2', '')


def test_other_pretrainings_data_and_backbones_stay_apart():
    records = [
        record(epochs=100, top1=60.0),
        record('Accel-MoCo v2', 'PB + HP + cumulative', top1=66.0),
        record(place=SMALL, top1=30.0),  # a small network on ImageNet
        record(frozen=False, top1=75.0),
        record(place=SMALL, dataset='CIFAR-10', top1=80.0),
        record(place=SMALL, dataset='CIFAR-10', task='knn', top1=79.0),
    ]
    tables = {table.title: lines(table) for table in make_tables(records)}
    names = ('epochs', 'network', 'backbone', 'top1 mean')
    assert picked(tables.pop('ImageNet: linear classification'), *names) == [
        ('200', 'ResNet-50', 'frozen', '66.0'),
        ('100', 'ResNet-50', 'frozen', '60.0'),
        ('200', 'ResNet-50', 'trained', '75.0'),
        ('200', 'ResNet_CIFAR-18', 'frozen', '30.0'),
    ]
    assert {title: row['top1 mean'] for title, (row,) in tables.items()} == {
        'CIFAR-10: kNN classification': '79.0',
        'CIFAR-10: linear classification': '80.0',
    }


def test_unknown_pretrainings_are_not_averaged():
    unknown = dict(recipe=None, epochs=None)
    records = [
        record('epoch_9', top1=50.0, pretrain='byol/epoch_9.pth', **unknown),
        record('epoch_9', top1=60.0, pretrain='simsiam/epoch_9.pth', **unknown),
        record('epoch_9', top1=62.0, pretrain='simsiam/epoch_9.pth', seed=1, **unknown),
    ]
    for config, top1 in (('r18.py', 30.0), ('r50.py', 40.0)):
        random = dict(unknown, pretrain=None, config=config)
        records.append(record('random weights', top1=top1, **random))
    assert picked(only(records), 'pretrained on', 'top1 mean', 'top1 n') == [
        ('byol/epoch_9.pth', '50.0', '1'),
        ('simsiam/epoch_9.pth', '61.0', '2'),
        ('nothing (r18.py)', '30.0', '1'),
        ('nothing (r50.py)', '40.0', '1'),
    ]


def test_protocols_sizes_and_repeats_are_not_averaged():
    given = dict(task='detection', dataset='VOC07', n=4952)
    records = [
        record(protocol='area', metrics=dict(AP=46.0, AP50=77.0), **given),
        record(protocol='11-point', metrics=dict(AP=44.0), **given),
        record(protocol='area', metrics=dict(AP=45.0), **dict(given, n=10)),
    ]
    records += [dict(records[0], path='copied/result.json')]
    assert picked(only(records), 'protocol', 'AP mean', 'AP n', 'AP50 n') == [
        ('11-point (4952 images)', '44.0', '1', ''),
        ('area (10 images)', '45.0', '1', ''),
        ('area (4952 images)', '46.0', '1', '1'),
    ]


def test_hyper_parameters_are_not_averaged():
    recipe = Recipe('MoCo v2', '', *IMAGENET)
    records, runs = [], []
    for settings, top1 in (('short', 67.0), ('short', 67.4), ('long', 70.0)):
        folder = f'{settings}/{len(runs)}'
        runs.append(Pretraining(folder, recipe, 200, 864e2 * top1, 8, 'X', settings))
        pretrain = f'{folder}/epoch_200.pth'
        records.append(record(top1=top1, pretrain=pretrain, settings=settings))
    found = only(records, runs)
    names = ('top1 mean', 'top1 n', 'days mean', 'days n')
    assert picked(found, *names) == [
        ('70.0', '1', '70.0', '1'),
        ('67.2', '2', '67.2', '2'),
    ]
    assert [row['protocol'].partition('; ')[2] for row in found] == [
        'pretrained in long/2',
        'pretrained in short/0',
    ]
    assert len(make_tables(records, runs)[-1].rows) == 2
    for given in records[2], records[0]:
        del given['settings']  # of before they were recorded
    assert picked(only(records), 'top1 n') == [('3',)]


def test_training_time_per_number_and_kind_of_devices():
    recipe = Recipe('MoCo v2', '', *IMAGENET)
    runs = [
        Pretraining(str(i), recipe, 200, days * 86400.0, 8, device)
        for i, (days, device) in enumerate(
            [(2, 'TITAN V'), (4, 'TITAN V'), (1, 'H200')]
        )
    ]
    results, times = make_tables([record(top1=60.0)], runs[:2])
    (result,), (time,) = lines(results), lines(times)
    for row in (result, time):
        assert (row['days mean'], row['GPU-days mean']) == ('3.0', '24.0')
        assert (row['GPU-days n'], row['device']) == ('2', '8 × TITAN V')
        assert float(row['GPU-days std']) == pytest.approx(8 * 2**0.5)
    results, times = make_tables([record(top1=60.0)], runs)
    assert picked(lines(results), 'top1 mean', 'device') == [('60.0', '')]
    assert picked(lines(times), 'device', 'days mean') == [
        ('8 × H200', '1.0'),
        ('8 × TITAN V', '3.0'),
    ]


def test_backbones_trained_with_labels_are_recognised():
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
    trained = load_config('mmcls::resnet/resnet50_8xb32_in1k.py')
    assert read_recipe(trained) == recipe
    trained.model.backbone.init_cfg = dict(type='Pretrained', checkpoint='x.pth')
    assert read_recipe(trained) is None


@pytest.fixture
def folders(tmp_path):
    """Two seeds of a pretraining, named to mislead, each with a linear evaluation."""
    for seed, (seconds, top1) in enumerate(((43200, 70.0), (86400, 72.0))):
        work_dir = tmp_path / 'pre' / f'simclr-skipping-{seed}'
        points = [point(5, seconds / 2, 1), point(10, seconds, 2)]
        write(work_dir / 'vis_data', points)
        (work_dir / 'vis_data' / 'config.py').write_text(CFG)
        (work_dir / 'start').mkdir()
        (work_dir / 'start' / 'start.log').write_text(LOG)
        meta = dict(cfg=CFG, epoch=2, seed=seed)
        torch.save(dict(meta=meta, state_dict={}), work_dir / 'epoch_2.pth')
        write_record(
            tmp_path / 'linear' / str(seed),
            'linear',
            dict(top1=top1),
            config='linear.py',
            dataset='flowers',
            protocol='cached',
            n=20,
            pretrained=work_dir,
        )
    return tmp_path


def test_tables_from_logs_and_records(folders, capsys):
    out = folders / 'out'
    assert exit_code('collect', folders / 'linear', '--out', out) == 0
    assert '(results: 2, pretrainings: 2)' in capsys.readouterr().out
    text = (out / 'tables.md').read_text()
    # found through the checkpoints; 0.5 and 1 day on two GPUs; root(2), root(0.125)
    row = (
        '| Accel-MoCo v2 | PB + HP | 2 | ResNet-18 | flowers | frozen | '
        '71.0 ± 1.4 (n=2) | 0.75 ± 0.354 (n=2) | 1.5 ± 0.707 (n=2) | '
        '2 × NVIDIA H200 | cached (20 images) |'
    )
    assert row in text.partition('## flowers: linear classification')[2]
    report = json.loads((out / 'tables.json').read_text())
    assert len(report['records']) == len(report['pretrainings']) == 2
    top1 = report['tables'][0]['rows'][0]['top1']
    assert top1 == dict(mean=71, std=pytest.approx(2**0.5), n=2, values=[70, 72])
    assert {path.stem for path in out.glob('*.csv')} == {
        'flowers-linear-classification',
        'pretraining-time',
    }


def test_an_unfinished_pretraining_has_its_own_row(folders, capsys):
    work_dir = folders / 'pre' / 'simclr-skipping-0'
    (work_dir / 'epoch_2.pth').rename(work_dir / 'epoch_1.pth')
    assert exit_code('collect', folders / 'pre') == 0
    printed = capsys.readouterr().out.partition('## Pretraining time')[2].splitlines()
    assert [x.split(' | ')[2] for x in printed if 'flowers' in x] == ['1', '2']


@pytest.mark.parametrize(
    ('argv', 'message'),
    [
        (['{}/nowhere'], 'there is no folder'),
        (['{}', '--pretrain-logs', '{}/nowhere'], '--pretrain-logs'),
        (['{}'], 'neither a result.json nor a log'),
    ],
)
def test_errors_in_one_line(tmp_path, capsys, argv, message):
    assert exit_code('collect', *(arg.format(tmp_path) for arg in argv)) == 1
    error = capsys.readouterr().err
    assert error.startswith('error: ') and message in error and error.count('\n') == 1


def test_a_baseline_as_upstream_has_it_is_timed(tmp_path):
    """Its config names neither the hook nor the log processor."""
    write_images(tmp_path / 'images', number=4)
    config = write_config(tmp_path / 'cfg.py', tmp_path / 'images', epochs=1)
    text = Path(config).read_text()
    assert 'ThroughputHook' not in text and 'log_processor' not in text
    run = tmp_path / 'run'
    options = ['train_dataloader.num_workers=0', 'default_hooks.logger.interval=1']
    argv = [config, '--work-dir', run, '--cfg-options', *options]
    assert exit_code('train', *argv) == 0
    logged = set().union(*read_scalars(run))
    assert logged >= {'train_seconds', 'images_per_second', 'data_wait', 'memory'}
    _, (found,) = gather([run])
    assert found.seconds > 0 and found.recipe.method.startswith('MoCo')


def test_a_pretraining_without_a_time_is_named_with_the_remedy(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(
        'mmaccel.evaluation.pretraining.print_log', lambda text, **_: said.append(text)
    )
    (tmp_path / 'vis_data').mkdir()
    (tmp_path / 'vis_data/config.py').write_text("model = dict(type='MoCo')\n")
    (tmp_path / 'vis_data/scalars.json').write_text('{"loss": 1, "step": 1}\n')
    with pytest.raises(ConfigError, match='mmaccel train'):
        gather([tmp_path])
    assert str(tmp_path) in said[0] and 'train_seconds' in said[0]
