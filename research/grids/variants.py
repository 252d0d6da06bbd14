# What the grids have in common: how every variant differs from its method's config,
# research/configs/accel-*, or from the baseline's if its name begins with `baseline`.
_base_ = [
    '../../configs/_base_/training_stages/exits-first.py',
    '../../configs/_base_/training_stages/grow-freeze.py',
    '../../configs/_base_/training_stages/freezeout.py',
    '../../configs/_base_/datasets/cifar10-folder_mocov2.py',
]

_last = dict(exit_probs=(0, 0, 0, 1))
_whole = {'model.crop_layer': None}
_sum = {'model.loss_on': 'cumulative'}
_view = 'train_dataloader.dataset.pipeline.0.transforms.0.0.'


def _hook(**settings):
    hook = dict(type='PartialBackpropHook', measure_interval=0, **settings)
    return {'custom_hooks': [hook]}


# Two views and two small ones of half the side, of as little of the image as none of
# the large ones shows (SwAV: 224 and 96 px, from 0.14 of the area on and up to 0.14).
_large, *_colours = _base_.view_pipeline
_multi_crop = {
    **_whole,
    'train_dataloader.dataset.pipeline.0.num_views': [2, 2],
    'train_dataloader.dataset.pipeline.0.transforms': [
        [dict(_large, size=size, scale=scale), *_colours]
        for size, scale in ((32, _large.scale), (16, (0.05, _large.scale[0])))
    ],
}

_paper = {
    'baseline': {},
    'paper': {},
    # Tables 4 to 7
    'pb': _whole,
    'hp': _hook(**_last),
    # the same with losses after all stages, which train the projectors that choose
    'hp-sum': {**_sum, **_hook(**_last)},
    # half of the residual blocks costs about what the exits cost
    'skipping': _hook(update_scheme='skipping', num_blocks=4),
    'nearby-block': _hook(update_scheme='nearby_block'),
    'easy-pair': {'model.crop_layer.prefer': 'easy'},
    'random-pair': {'model.crop_layer.prefer': 'random'},
    'hard-example': {
        'model.crop_layer': dict(
            _delete_=True, type='HardExampleLayer', after_stages=(1, 2), keep=0.5625
        )
    },
    'candidates-1': {'model.crop_layer.num_candidates': 1},
    'candidates-4': {'model.crop_layer.num_candidates': 4},
    'candidates-10': {'model.crop_layer.num_candidates': 10},
}


def _from_two_thirds(**settings):
    stages = [dict(until=0.5, view_scale=2 / 3), dict(until=1.0)]
    return _hook(schedule=[dict(stage, **settings) for stage in stages])


def _from_half(**settings):
    stages = [
        dict(until=1 / 3, view_scale=1 / 2),
        dict(until=2 / 3, view_scale=2 / 3),
        dict(until=1.0),
    ]
    return _hook(schedule=[dict(stage, **settings) for stage in stages])


_exits_then_entries = [
    _base_.exits_first[0],
    dict(until=1.0, loss_on='exit', entry_probs=(1, 1, 1, 1), **_last),
]
_late = (1, 1, 1, 3)
_moving = [
    dict(until=0.25, exit_probs=(1, 1, 0, 0)),
    dict(until=0.5, exit_probs=(0, 1, 1, 0)),
    dict(until=0.75, exit_probs=(0, 0, 1, 1)),
    dict(until=1.0, exit_probs=(0, 0, 0, 1)),
]
_freeze_early = [
    dict(until=0.25, **_last),
    dict(until=0.5, entry_probs=(0, 1), **_last),
    dict(until=0.75, entry_probs=(0, 0, 1), **_last),
    dict(until=1.0, entry_probs=(0, 0, 0, 1), **_last),
]
_rare_stages_faster = {
    part.format(stage - parts): dict(lr_mult=4 / (5 - stage))
    for stage in (2, 3, 4)
    for part, parts in (('backbone.layer{}', 0), ('neck.projectors.{}', 1))
}

_ours = {
    'pb-sum': {**_whole, **_sum},
    # the full network with the sum: deep supervision without exits
    'full-sum': {**_whole, **_sum, **_hook(**_last)},
    'paper-sum': _sum,
    'pb-sum-progressive-67': {**_whole, **_sum, **_from_two_thirds()},
    'progressive-67': {**_whole, **_from_two_thirds(**_last)},
    'full-sum-progressive-67': {**_whole, **_sum, **_from_two_thirds(**_last)},
    'pb-sum-progressive-50': {**_whole, **_sum, **_from_half()},
    'progressive-50': {**_whole, **_from_half(**_last)},
    'full-sum-progressive-50': {**_whole, **_sum, **_from_half(**_last)},
    'pb-late': {**_whole, **_hook(exit_probs=_late)},
    'pb-sum-late': {**_whole, **_sum, **_hook(exit_probs=_late)},
    'pb-sum-moving': {**_whole, **_sum, **_hook(schedule=_moving)},
    'pb-sum-whole-end': {
        **_whole,
        **_sum,
        **_hook(schedule=[dict(until=0.75), dict(until=1.0, **_last)]),
    },
    'pb-sum-lr': {
        **_whole,
        **_sum,
        'optim_wrapper.paramwise_cfg': dict(custom_keys=_rare_stages_faster),
    },
    # uniform exits reach stages 1 to 4 in 4/4, 3/4, 2/4 and 1/4 of the updates: weights
    # in inverse proportion make the expected gradient that of `full-sum`
    'pb-sum-unbiased': {**_whole, **_sum, 'model.loss_weights': (1, 4 / 3, 2, 4)},
    'pb-sum-late-progressive-67': {
        **_whole,
        **_sum,
        **_from_two_thirds(exit_probs=_late),
    },
    'pb-sum-late-progressive-50': {
        **_whole,
        **_sum,
        **_from_half(exit_probs=_late),
    },
    # every update has the last loss, and its gradient ends at a stage that is drawn:
    # what exits do to the last stages, entries do to the first
    'entries': {**_whole, **_hook(**_last, update_scheme='nearby_block')},
    'entries-late': {
        **_whole,
        **_hook(schedule=[dict(entry_probs=(1, 2, 3, 4), **_last)]),
    },
    'freeze': {**_whole, **_hook(schedule=_base_.freezing)},
    'freeze-early': {**_whole, **_hook(schedule=_freeze_early)},
    'grow-freeze': {**_whole, **_hook(schedule=_base_.grow_freeze)},
    'exits-then-entries': {**_whole, **_hook(schedule=_exits_then_entries)},
    'exits-first': {**_whole, **_hook(schedule=_base_.exits_first)},
    'pb-sum-progressive-50-whole-end': {
        **_whole,
        **_sum,
        **_hook(
            schedule=[
                dict(until=1 / 3, view_scale=1 / 2),
                dict(until=2 / 3, view_scale=2 / 3),
                dict(until=1.0, **_last),
            ]
        ),
    },
    # windows crop a second time: views that are cropped less to begin with
    'paper-sum-large-views': {**_sum, _view + 'scale': (0.5, 1.0)},
    'baseline-large-views': {_view + 'scale': (0.5, 1.0)},
    # hard windows lose more than easy ones
    'paper-sum-easy': {**_sum, 'model.crop_layer.prefer': 'easy'},
    'paper-sum-random': {**_sum, 'model.crop_layer.prefer': 'random'},
    'paper-sum-random-progressive-50': {
        **_sum,
        'model.crop_layer.prefer': 'random',
        **_from_half(),
    },
    'paper-sum-ratio-90': {**_sum, 'model.crop_layer.crop_ratio': 0.9},
    'paper-sum-after-1': {**_sum, 'model.crop_layer.after_stages': (1,)},
    'paper-sum-no-windows-at-end': {
        **_sum,
        **_hook(schedule=[dict(until=0.5), dict(until=1.0, windows=False)]),
    },
}

# negatives of one age, the keys of the step, for a plain baseline too
_batch = {'model.negatives': 'batch'}
_decoupled = {'model.head.decoupled': True}
# MoCo's query, or one of SimCLR's views, at two thirds of the side but for the last
# quarter
_asymmetric = [
    dict(until=0.75, view_scale=(2 / 3, 1), **_last),
    dict(until=1.0, **_last),
]
_asymmetric_freeze = [
    dict(until=0.5, view_scale=(2 / 3, 1), **_last),
    dict(until=0.75, view_scale=(2 / 3, 1), entry_probs=(0, 1), **_last),
    dict(until=1.0, entry_probs=(0, 0, 1), **_last),
]
# FreezeOut's times; views grow meanwhile
_grow_freezeout = [
    dict(until=0.25, view_scale=1 / 2, **_last),
    dict(_base_.freezeout[0], view_scale=2 / 3),
    *_base_.freezeout[1:],
]
_folded = [dict(stage, fold_frozen=True) for stage in _base_.freezeout]
_exits_and_windows_then_whole = [
    dict(until=0.75, exit_probs=_late),
    dict(until=1.0, windows=False, loss_on='exit', **_last),
]
_equal = {
    'asymmetric': {**_whole, **_hook(schedule=_asymmetric)},
    'asymmetric-freeze': {**_whole, **_hook(schedule=_asymmetric_freeze)},
    'asymmetric-batch': {**_whole, **_batch, **_hook(schedule=_asymmetric)},
    'freezeout': {**_whole, **_hook(schedule=_base_.freezeout, anneal='scaled')},
    'freezeout-folded': {**_whole, **_hook(schedule=_folded, anneal='scaled')},
    'grow-freezeout': {**_whole, **_hook(schedule=_grow_freezeout, anneal='scaled')},
    'batch-negatives': {**_whole, **_batch, **_hook(**_last)},
    'paper-batch': _batch,
    'late-sum-random-batch': {
        **_sum,
        **_batch,
        'model.crop_layer.num_candidates': 1,
        **_hook(exit_probs=_late),
    },
    'freeze-batch': {**_whole, **_batch, **_hook(schedule=_base_.freezing)},
    'grow-freeze-batch': {**_whole, **_batch, **_hook(schedule=_base_.grow_freeze)},
    'late-sum-random': {
        **_sum,
        'model.crop_layer.num_candidates': 1,
        **_hook(exit_probs=_late),
    },
    'late-sum-random-whole-end': {
        **_sum,
        'model.crop_layer.num_candidates': 1,
        **_hook(schedule=_exits_and_windows_then_whole),
    },
    'late-sum-random-batch-whole-end': {
        **_sum,
        **_batch,
        'model.crop_layer.num_candidates': 1,
        **_hook(schedule=_exits_and_windows_then_whole),
    },
    'decoupled': {**_whole, **_decoupled, **_hook(**_last)},
    'multi-crop': {**_multi_crop, **_hook(**_last)},
    'multi-crop-freeze': {**_multi_crop, **_hook(schedule=_base_.freezing)},
    'grow-freeze-decoupled': {
        **_whole,
        **_decoupled,
        **_hook(schedule=_base_.grow_freeze),
    },
}

# MoCo's queue holds keys of older encoders, which an exit that has learned little may
# tell from the positive by their age: slower keys, and fewer
_fresher = {
    f'{name}-{change}': {**settings, **option}
    for name, settings in {**_paper, **_ours}.items()
    if name in ('baseline', 'paper', 'pb-sum', 'exits-first')
    for change, option in (
        ('momentum-999', {'model.momentum': 0.999}),
        ('queue-512', {'model.queue_len': 512}),
    )
}

config = 'research/configs/{accel}{method}_r18_cifar10.py'
variants = {**_paper, **_ours, **_equal, **_fresher}
