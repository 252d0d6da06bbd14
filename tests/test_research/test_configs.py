"""The study's configs: pairs that differ in the method alone, choices off the test."""

from pathlib import Path

import pytest
from mmengine.config import Config

STUDY = Path(__file__).parents[2] / 'research/configs'
BASELINES = sorted(
    path.name for path in STUDY.glob('*.py') if not path.name.startswith('accel-')
)


def load(name):
    return Config.fromfile(STUDY / name).to_dict()


@pytest.mark.parametrize('name', BASELINES)
def test_accel_changes_the_method_alone(name):
    baseline, accel = load(name), load(f'accel-{name}')
    assert Path(accel.pop('baseline')) == Path('research/configs', name)
    wrapper = accel.pop('model_wrapper_cfg')
    assert wrapper == dict(type='mmselfsup.StagewiseDataParallel')
    hooks = [cfg.pop('custom_hooks') for cfg in (baseline, accel)]
    assert [[hook['type'] for hook in each] for each in hooks] == [
        ['ChannelsLastHook'],  # the layout that the other has by itself
        ['PartialBackpropHook'],
    ]
    theirs, ours = baseline.pop('model'), accel.pop('model')
    assert accel == baseline  # data, schedule, monitor, clock
    assert ours.pop('channels_last') is True
    assert ours['type'] == f'Accel{theirs["type"]}'
    for key in ('queue_len', 'momentum', 'feat_dim', 'backbone', 'data_preprocessor'):
        assert ours.get(key) == theirs.get(key)
    assert ours['head'].get('temperature') == theirs['head'].get('temperature')
    sizes = ('feat_dim', 'epsilon', 'temperature', 'num_crops', 'num_prototypes')
    losses = [model['head'].get('loss', {}) for model in (theirs, ours)]
    assert [losses[0].get(s) for s in sizes] == [losses[1].get(s) for s in sizes]
    necks = theirs['neck'], ours['neck']
    for key in ('hid_channels', 'out_channels', 'num_layers', 'with_avg_pool'):
        assert necks[0].get(key) == necks[1].get(key)
    assert necks[0]['in_channels'] == necks[1]['in_channels'][-1]
    projector = ours['neck'].get('projector', 'MoCoV2Neck')  # its default
    assert projector == theirs['neck']['type']


@pytest.mark.parametrize('name', BASELINES)
def test_nothing_is_trained_or_watched_on_the_test_split(name):
    cfg = load(name)
    monitor = cfg['default_hooks']['knn']
    sets = [
        cfg['train_dataloader']['dataset'],
        monitor['train_dataloader']['dataset'],
        monitor['test_dataloader']['dataset'],
    ]
    assert [s['part'] for s in sets] == ['train', 'train', 'held_out']
    assert {s['data_root'] for s in sets} == {'data/cifar10/train'}
    assert {s['type'] for s in sets} == {'FolderInMemory'}
    assert len({s.get('every', 10) for s in sets}) == 1  # the parts fit together
    assert 'data/cifar10/test' not in repr(cfg['train_dataloader'])


def test_methods_share_all_but_what_makes_them():
    first, *others = map(load, BASELINES)
    assert len(others) == 3
    for cfg in others:
        for key in ('optim_wrapper', 'param_scheduler', 'train_cfg', 'default_hooks'):
            assert cfg[key] == first[key]
        for key in ('backbone', 'data_preprocessor'):
            assert cfg['model'][key] == first['model'][key]
    views = {
        name: load(name)['train_dataloader']['dataset']['pipeline'][0]['transforms'][0]
        for name in BASELINES
    }
    v1 = views.pop('mocov1_r18_cifar10.py')  # jitter always, behind the grey
    kinds = ['RandomResizedCrop', 'RandomGrayscale', 'ColorJitter', 'RandomFlip']
    assert [transform['type'] for transform in v1] == kinds
    assert all(view == views['mocov2_r18_cifar10.py'] for view in views.values())
