"""tools/analysis_tools/collect_results.py."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch

from mmaccel.evaluation import write_record
from tests.test_evaluation.test_curves import point, write

TOOL = Path(__file__).parents[2] / 'tools' / 'analysis_tools' / 'collect_results.py'
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


@pytest.fixture(scope='module')
def tool():
    spec = importlib.util.spec_from_file_location('collect_results', TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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


def test_tables_from_logs_and_records(tool, folders, capsys):
    out = folders / 'out'
    assert tool.main([str(folders / 'linear'), '--out', str(out)]) == 0
    assert '(results: 2, pretrainings: 2)' in capsys.readouterr().out
    text = (out / 'tables.md').read_text()
    # found through the checkpoints; 0.5 and 1 day on two GPUs; root(2), root(0.125)
    row = (
        '| Accel-MoCo v2 | PB + HP | 2 | ResNet-18 | flowers | 71.0 ± 1.4 (n=2) | '
        '0.75 ± 0.354 (n=2) | 1.5 ± 0.707 (n=2) | 2 × NVIDIA H200 | '
        'cached (20 images) |'
    )
    assert row in text.partition('## flowers: linear classification')[2]
    assert '| paper ' not in text
    report = json.loads((out / 'tables.json').read_text())
    assert len(report['records']) == 2
    assert [t['number'] for t in report['tables'][:10]] == list(range(1, 11))
    assert len(list(out.glob('*.csv'))) == len(report['tables']) == 12
    assert (out / 'flowers-linear-classification.csv').is_file()


def test_printed_with_the_papers_figures(tool, folders, capsys):
    assert tool.main([str(folders), '--paper']) == 0
    text = capsys.readouterr().out
    assert '| Accel-SimCLR | 200 | 62.9 ± 0.2 |  | 2.8 |  |  |  |' in text
    assert '71.0 ± 1.4 (n=2)' in text


def test_unfinished_pretraining(tool, folders, capsys):
    work_dir = folders / 'pre' / 'simclr-skipping-0'
    (work_dir / 'epoch_2.pth').rename(work_dir / 'epoch_1.pth')
    assert tool.main([str(folders / 'pre')]) == 0
    lines = capsys.readouterr().out.partition('## Pretraining time')[2].splitlines()
    assert [x.split(' | ')[2] for x in lines if 'flowers' in x] == ['1', '2']


@pytest.mark.parametrize(
    ('argv', 'message'),
    [
        (['{}/nowhere'], 'there is no folder'),
        (['{}', '--pretrain-logs', '{}/nowhere'], 'give --pretrain-logs folders'),
        (['{}'], 'neither a result.json nor a log'),
    ],
)
def test_errors_in_one_line(tool, tmp_path, capsys, argv, message):
    argv = [arg.format(tmp_path) for arg in argv]
    assert tool.main(argv) == 1
    error = capsys.readouterr().err
    assert error.startswith('error: ') and message in error and error.count('\n') == 1
