"""mmaccel.evaluation.record: one file an evaluation, read back whole or named."""

import functools
import hashlib
import json
import shutil
from typing import Any

import pytest
import torch

from mmaccel.engine.config import load_config
from mmaccel.errors import ConfigError
from mmaccel.evaluation import read_records, write_record
from mmaccel.evaluation.recipe import parse_config, read_recipe
from mmaccel.evaluation.record import is_result_of

GIVEN: dict[str, Any] = dict(config='c.py', dataset='CIFAR-10', protocol='cached', n=10)


def save(path, cfg, **meta):
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(meta=dict(meta, cfg=cfg), state_dict={}), path)
    return path


@functools.cache
def config_of(name):
    """Read once: mmengine takes a while over each."""
    return load_config(name)


def recipe(name):
    return read_recipe(config_of(name))


def test_round_trip(tmp_path):
    cfg = config_of('configs/accel/mocov2_r50_8xb32.py')
    text = 'model = ' + repr(cfg.model.to_dict()) + '\n'
    save(tmp_path / 'pre' / 'epoch_3.pth', text, epoch=3, seed=7)
    path = write_record(
        tmp_path / 'runs' / 'a',
        'linear',
        {'top1': torch.tensor(61.5)},
        frozen=False,
        pretrained=tmp_path / 'pre',
        seed=1,
        **GIVEN,
    )
    assert path == tmp_path / 'runs' / 'a' / 'result.json'
    (record,) = read_records([tmp_path / 'runs', tmp_path / 'runs' / 'a'])
    expected = dict(
        GIVEN,
        task='linear',
        method='Accel-MoCo v2',
        pretrain=str(tmp_path / 'pre' / 'epoch_3.pth'),
        pretrain_epochs=3,
        pretrain_seed=7,
        seed=1,
        frozen=False,
        metrics={'top1': 61.5},
        torch=torch.__version__,
        path=str(path),
    )
    assert {key: record[key] for key in expected} == expected
    assert record['recipe']['variant'] == 'HP'  # no hook in this text: no exits
    assert record['device']


def test_equality_of_weights_decides_whose_a_record_is(tmp_path):
    cfg = "model = dict(type='MoCo')"
    one = save(tmp_path / 'epoch_1.pth', cfg, seed=1)
    given = dict(GIVEN, pretrained=one, prefix='encoder_q.')
    path = write_record(tmp_path / 'run', 'knn', {'top1': 1.0}, **given)
    digest = hashlib.sha256(one.read_bytes()).hexdigest()
    assert json.loads(path.read_text())['checkpoint'] == digest

    moved = shutil.move(one, tmp_path / 'other_name.pth')
    assert is_result_of(path.parent, moved, 'encoder_q.')
    with pytest.raises(ConfigError, match="'encoder_k.'"):
        is_result_of(path.parent, moved, 'encoder_k.')
    other = save(tmp_path / 'epoch_1.pth', cfg, seed=2)
    with pytest.raises(ConfigError, match='other weights'):
        is_result_of(path.parent, other, 'encoder_q.')
    path.write_text('{}')
    assert not is_result_of(path.parent, moved, 'encoder_q.')
    assert not is_result_of(tmp_path, moved, 'encoder_q.')


def test_checkpoint_that_says_nothing(tmp_path):
    torch.save({'conv1.weight': torch.zeros(1)}, tmp_path / 'resnet50-0676ba61.pth')
    (tmp_path / 'cut.pth').write_bytes(b'PK\x03\x04')
    for i, name in enumerate(('resnet50-0676ba61.pth', 'cut.pth', None)):
        pretrained = tmp_path / name if name else None
        write_record(
            tmp_path / str(i), 'knn', {'top1': 1.0}, pretrained=pretrained, **GIVEN
        )
    methods = [record['method'] for record in read_records([tmp_path])]
    assert methods == ['resnet50-0676ba61', 'cut', 'random weights']
    assert all(r['pretrain_epochs'] is None for r in read_records([tmp_path]))


def test_damaged_records_are_named(tmp_path, monkeypatch):
    good = write_record(tmp_path / 'good', 'knn', {'top1': 1.0}, **GIVEN)
    whole = json.loads(good.read_text())
    damaged = {
        'half': good.read_text()[:40],
        'list': '[]',
        'task': json.dumps(dict(whole, task='poetry')),
        'text': json.dumps(dict(whole, metrics={'top1': 'high'})),
        'nan': json.dumps(dict(whole, metrics={'top1': float('nan')})),
        'none': json.dumps({k: v for k, v in whole.items() if k != 'dataset'}),
    }
    for name, text in damaged.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / 'result.json').write_text(text)
    said = []
    monkeypatch.setattr(
        'mmaccel.evaluation.record.print_log', lambda text, **_: said.append(text)
    )
    records = read_records([tmp_path])
    for name, text in zip(sorted(damaged), sorted(said)):
        assert text.startswith(f'{tmp_path / name / "result.json"} is no whole record')
    assert len(said) == len(damaged)
    assert [record['path'] for record in records] == [str(good)]


def test_refusals(tmp_path):
    with pytest.raises(ConfigError, match='there is no folder'):
        read_records([tmp_path / 'nowhere'])
    with pytest.raises(ValueError, match='is none of'):
        write_record(tmp_path, 'poetry', {'top1': 1.0}, **GIVEN)
    with pytest.raises(ValueError, match='top1 is no number'):
        write_record(tmp_path, 'knn', {'top1': float('nan')}, **GIVEN)
    assert not (tmp_path / 'result.json').exists()


#: Method, variant and views of each config of `configs/`.
RECIPES = {
    'accel/mocov1_r50_8xb32': 'Accel-MoCo, PB + HP, 2×224',
    'accel/mocov2_r50_8xb32': 'Accel-MoCo v2, PB + HP, 2×224',
    'accel/simclr_r50_8xb32': 'Accel-SimCLR, PB + HP, 2×224',
    'accel/swav_r50_8xb32': 'Accel-SwAV 2×224, PB + HP, 2×224',
    'accel/swav_r50_8xb32-mcrop-2-4-160-96': (
        'Accel-SwAV 2×160 + 4×96, PB + HP, 2×160 + 4×96'
    ),
    'baselines/swav_r50_8xb32': 'SwAV 2×224, , 2×224',
    'ablations/mocov2_input-128': 'MoCo v2, , 2×128',
    'ablations/mocov2_pb': 'Accel-MoCo v2, PB, 2×224',
    'ablations/mocov2_hp': 'Accel-MoCo v2, HP, 2×224',
    'ablations/simclr_skipping': 'Accel-SimCLR, Skipping + HP, 2×224',
    'ablations/simclr_nearby-block': 'Accel-SimCLR, Nearby-Block + HP, 2×224',
    'ablations/simclr_hard-example': 'Accel-SimCLR, PB + Hard Example, 2×224',
    'ablations/mocov2_easy-pair': 'Accel-MoCo v2, PB + Easy Pair, 2×224',
    'ablations/simclr_candidates-10': 'Accel-SimCLR, PB + HP M=10, 2×224',
    'ablations/mocov2_cumulative': 'Accel-MoCo v2, PB + HP + cumulative, 2×224',
    'ablations/mocov2_truncated-keys': 'Accel-MoCo v2, PB + HP + truncated keys, 2×224',
}


@pytest.mark.parametrize('config', RECIPES)
def test_recipe_of_every_kind_of_config(config):
    found = recipe(f'configs/{config}.py')
    assert found == (*RECIPES[config].split(', '), 'ResNet-50', 'ImageNet')


def test_recipe_of_upstream_and_small_configs():
    root = 'mmselfsup::selfsup'
    v1 = recipe(f'{root}/mocov1/mocov1_resnet50_8xb32-steplr-200e_in1k.py')
    assert v1 == ('MoCo', '', '2×224', 'ResNet-50', 'ImageNet')
    small = recipe('configs/small/accel-mocov2_r18_cifar10.py')
    assert (small.arch, small.dataset) == ('ResNet_CIFAR-18', 'CIFAR-10')
    byol = load_config(f'{root}/byol/byol_resnet50_8xb32-accum16-coslr-200e_in1k.py')
    assert read_recipe(byol) is None


def test_recipe_names_what_changes_while_training_goes_on():
    cfg = load_config('configs/accel/simclr_r50_8xb32.py')
    cfg.custom_hooks[0] = dict(
        type='PartialBackpropHook',
        schedule=[
            dict(until=0.5, view_scale=0.5),
            dict(exit_probs=(0, 0, 0, 1), entry_probs=(0, 1)),
        ],
    )
    assert read_recipe(cfg).variant == (
        'HP + until 0.5: view_scale=0.5 + until 1: entry_probs=0/1 exit_probs=0/0/0/1'
    )
    old = dict(exit_probs=(0, 0, 0, 1), entry_probs=(1, 2, 3, 4))
    old['phases'] = [dict(begin=0.5, view_scale=1)]
    cfg.custom_hooks[0] = dict(type='PartialBackpropHook', **old)
    assert read_recipe(cfg).variant == (
        'PB (exit_probs=0/0/0/1, entry_probs=1/2/3/4) + HP + from 0.5: view_scale=1'
    )


@pytest.mark.parametrize(
    ('negatives', 'named'),
    [
        ('batch', 'PB + HP + negatives=batch + decoupled'),
        (['batch'] * 4, 'PB + HP + negatives=batch + decoupled'),
        (
            ['batch', 'queue'] * 2,
            'PB + HP + negatives=batch/queue/batch/queue + decoup',
        ),
        (['queue'] * 4, 'PB + HP + decoupled'),
    ],
)
def test_recipe_names_negatives_and_the_decoupled_loss(negatives, named):
    cfg = load_config('configs/accel/mocov2_r50_8xb32.py')
    cfg.model.update(negatives=negatives)
    cfg.model.head.decoupled = True
    assert read_recipe(cfg).variant.startswith(named)


def test_config_text_is_read_not_run():
    text = (
        "model = dict(type='A', lr=1e-3, head=dict({'b.c': [1, -2], 'd': None}))\n"
        "names = ['x', __import__('os').system('false')]\n"
        'def f(): pass\n'
    )
    assert parse_config(text) == {
        'model': dict(type='A', lr=1e-3, head={'b.c': [1, -2], 'd': None}),
        'names': ['x', None],
    }
    assert parse_config('model = dict(') == {}
