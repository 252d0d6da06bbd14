"""What a config says, whatever wraps it and however its types are named."""

import pytest
from mmengine.config import Config, ConfigDict
from mmselfsup.models.algorithms import MoCo
from mmselfsup.registry import MODELS

from mmaccel.engine.config_reader import (
    Views,
    argument,
    class_of,
    datasets,
    dicts,
    hooks,
    image_loader,
    is_pretraining,
    pipeline,
    training_set,
    type_name,
    views,
)

CROP = dict(type='RandomResizedCrop', size=160, scale=(0.2, 1.0))
LOAD = dict(type='LoadImageFromFile')
PACK = dict(type='PackSelfSupInputs')


@pytest.mark.parametrize(
    'kind, name',
    [
        ('mmselfsup.MoCo', 'MoCo'),
        ('mmcls.ResNet', 'ResNet'),
        ('ResNet', 'ResNet'),
        (MoCo, 'MoCo'),
        (None, ''),
        (3, ''),
    ],
)
def test_a_type_without_its_scope(kind, name):
    assert type_name(kind) == type_name(dict(type=kind)) == name
    assert type_name(ConfigDict(type=kind, _scope_='mmcls')) == name
    assert type_name({}) == ''


def test_every_dict_the_outer_ones_first():
    tree = dict(a=[dict(b=1), (dict(c=dict(d=2)),)], e='text')
    assert list(dicts(tree)) == [tree, dict(b=1), dict(c=dict(d=2)), dict(d=2)]
    assert list(dicts(None)) == []


def test_hooks_by_name_with_their_options():
    custom, default = dict(type='mmselfsup.KNNHook', k=5), dict(type='KNNHook')
    cfg = dict(
        custom_hooks=[dict(type='EMAHook'), custom],
        default_hooks=dict(knn=default, timer=None),
    )
    assert list(hooks(cfg, 'KNNHook')) == [
        ('custom_hooks.1', custom),
        ('default_hooks.knn', default),
    ]
    assert len(list(hooks(cfg))) == 3
    assert list(hooks(dict(custom_hooks=None, default_hooks=None))) == []


def test_datasets_inside_wrappers_with_the_option_of_each():
    first, second = dict(type='A', data_root='a'), dict(type='B', dataset='a name')
    wrapped = dict(
        type='mmselfsup.SeededDataset',
        dataset=dict(
            type='ConcatDataset',
            datasets=[dict(type='RepeatDataset', times=2, dataset=first), second],
        ),
    )
    assert list(datasets(wrapped, 'data')) == [
        ('data.datasets.0.dataset', first),
        ('data.datasets.1', second),
    ]
    assert list(datasets(first, 'data')) == [('data', first)]
    assert list(datasets(None, 'data')) == []
    assert training_set(dict(train_dataloader=dict(dataset=wrapped))) is first
    assert training_set(dict(train_dataloader=None)) == {}


@pytest.mark.parametrize(
    'transforms, expected',
    [
        ([LOAD, dict(type='MultiView', num_views=2, transforms=[[CROP]])], 2),
        ([dict(type='mmselfsup.LoadViews', num_views=[1], transforms=[[CROP]])], 1),
        ([LOAD, CROP], 1),
    ],
)
def test_views_of_one_kind(transforms, expected):
    dataset = dict(pipeline=[*transforms, PACK])
    assert views(dataset) == [Views(expected, (160, 160))]


def test_views_of_several_kinds_and_sizes():
    small = dict(type='mmcls.RandomResizedCrop', scale=(96, 80))
    kinds = [[CROP], [dict(type='RandomFlip'), small], [dict(type='RandomFlip')]]
    multi = dict(type='MultiView', num_views=[2, 4, 1], transforms=kinds)
    dataset = ConfigDict(pipeline=[LOAD, multi, PACK])
    assert views(dataset) == [Views(2, (160, 160)), Views(4, (96, 80)), Views(1, None)]
    assert [type_name(t) for t in pipeline(dataset)][1] == 'MultiView'
    assert views({}) == pipeline({}) == []


@pytest.mark.parametrize('channels, color', [(1, 'grayscale'), (3, 'color')])
def test_image_files_are_read_with_the_backbones_channels(channels, color):
    cfg = Config(dict(model=dict(backbone=dict(in_channels=channels))))
    assert image_loader(cfg)['color_type'] == color
    assert image_loader({})['color_type'] == 'color'


def test_classes_and_their_arguments():
    for kind in ('mmselfsup.MoCo', MoCo):
        found = class_of(dict(type=kind), MODELS)
        assert found is MoCo
    assert class_of(dict(type='NoSuchModel'), MODELS) is class_of({}, MODELS) is None

    class Child(MoCo):
        def __init__(self, *args, temperature, **kwargs):
            super().__init__(*args, **kwargs)

    assert argument(Child, 'queue_len').default == 65536
    assert argument(Child, 'temperature').default is argument(Child, 'head').empty
    assert argument(Child, 'no_such') is argument(None, 'queue_len') is None


def test_a_pretraining_is_told_by_its_scope():
    assert is_pretraining(dict(default_scope='mmselfsup'))
    assert not is_pretraining(dict(default_scope='mmdet'))
