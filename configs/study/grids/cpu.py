# The study at the size of two CPU cores: a quarter of the channels, views of 24 px,
# 128 images a step, bf16. docs/study/protocol.md says why.
_MONITOR = 'default_hooks.knn.'
_SIDE = 24


def _views(side):
    return {'train_dataloader.dataset.pipeline.0.transforms.0.0.size': side}


def _hook(**settings):
    hook = dict(type='PartialBackpropHook', measure_interval=0, **settings)
    return {'custom_hooks': [hook]}


def _run(method, variant, epochs, options=None, **more):
    accel = '' if variant.startswith('baseline') else 'accel-'
    return dict(
        group=f'{method}/{variant}-{epochs}e',
        config=f'configs/study/{accel}{method}_r18_cifar10.py',
        epochs=epochs,
        options=options or {},
        **more,
    )


common = dict(
    width=16,
    amp='bf16',
    options={
        'train_dataloader.batch_size': 128,
        'train_dataloader.num_workers': 0,
        'train_dataloader.persistent_workers': False,
        'default_hooks.throughput.clock': 'cpu',
        'default_hooks.checkpoint.interval': 2,
        _MONITOR + 'interval': 4,
        _MONITOR + 'max_train': 10000,
        _MONITOR + 'initial': False,
        _MONITOR + 'train_dataloader.num_workers': 0,
        _MONITOR + 'test_dataloader.num_workers': 0,
        'optim_wrapper.optimizer.lr': 0.2,
        'param_scheduler': [
            dict(
                type='LinearLR',
                start_factor=0.01,
                begin=0,
                end=20,
                by_epoch=True,
                convert_to_iter_based=True,
            ),
            dict(
                type='CosineAnnealingLR',
                T_max=180,
                begin=20,
                end=200,
                by_epoch=True,
                convert_to_iter_based=True,
            ),
        ],
        **_views(_SIDE),
    },
)

_LAST = _hook(exit_probs=(0, 0, 0, 1))
_NO_WINDOWS = {'model.crop_layer': None}
_SUM = {'model.supervision': 'cumulative'}
_WINDOWS = 'model.crop_layer.'
_HARDEST_IMAGES = dict(
    _delete_=True, type='HardExampleLayer', after_stages=(1, 2), keep=0.5625
)

# the paper's Tables 4 to 7
_ABLATIONS = {
    'pb': _NO_WINDOWS,
    'hp': _LAST,
    'skipping': _hook(update_scheme='skipping', num_blocks=4),
    'nearby-block': _hook(update_scheme='nearby_block'),
    'easy-pair': {_WINDOWS + 'select': 'easy'},
    'random-pair': {_WINDOWS + 'select': 'random'},
    'hard-example': {'model.crop_layer': _HARDEST_IMAGES},
    'candidates-1': {_WINDOWS + 'num_candidates': 1},
    'candidates-4': {_WINDOWS + 'num_candidates': 4},
    'candidates-10': {_WINDOWS + 'num_candidates': 10},
}

# not in the paper
_PB_SUM = {**_NO_WINDOWS, **_SUM}
_SMALL_FIRST = [dict(begin=0, view_scale=2 / 3), dict(begin=0.5, view_scale=1)]
_MOVING = [
    dict(begin=0, exit_probs=(1, 1, 0, 0)),
    dict(begin=0.25, exit_probs=(0, 1, 1, 0)),
    dict(begin=0.5, exit_probs=(0, 0, 1, 1)),
    dict(begin=0.75, exit_probs=(0, 0, 0, 1)),
]
_RARE_STAGES_FASTER = {
    part.format(stage - parts): dict(lr_mult=4 / (5 - stage))
    for stage in (2, 3, 4)
    for part, parts in (('backbone.layer{}', 0), ('neck.projectors.{}', 1))
}
_AREA = 'train_dataloader.dataset.pipeline.0.transforms.0.0.scale'
_CANDIDATES = {
    'pb-sum': _PB_SUM,
    # the full network with the sum: deep supervision without exits
    'full-sum': {**_LAST, **_PB_SUM},
    'paper-sum': _SUM,
    'pb-sum-small-first': {**_PB_SUM, **_hook(phases=_SMALL_FIRST)},
    'small-first': {
        **_NO_WINDOWS,
        **_hook(exit_probs=(0, 0, 0, 1), phases=_SMALL_FIRST),
    },
    'full-sum-small-first': {
        **_PB_SUM,
        **_hook(exit_probs=(0, 0, 0, 1), phases=_SMALL_FIRST),
    },
    'pb-late': {**_NO_WINDOWS, **_hook(exit_probs=(1, 1, 1, 3))},
    'pb-sum-late': {**_PB_SUM, **_hook(exit_probs=(1, 1, 1, 3))},
    'pb-sum-moving': {**_PB_SUM, **_hook(phases=_MOVING)},
    'pb-sum-whole-end': {
        **_PB_SUM,
        **_hook(phases=[dict(begin=0.75, exit_probs=(0, 0, 0, 1))]),
    },
    'pb-sum-lr': {
        **_PB_SUM,
        'optim_wrapper.paramwise_cfg': dict(custom_keys=_RARE_STAGES_FASTER),
    },
    'pb-sum-weights': {**_PB_SUM, 'model.loss_weights': (0.25, 0.5, 0.75, 1)},
    # windows crop a second time: views that are cropped less to begin with
    'paper-sum-large-views': {**_SUM, _AREA: (0.5, 1.0)},
    'baseline-large-views': {_AREA: (0.5, 1.0)},
    'paper-sum-ratio-90': {**_SUM, _WINDOWS + 'crop_ratio': 0.9},
    'paper-sum-after-1': {**_SUM, _WINDOWS + 'after_stages': (1,)},
    'paper-sum-no-windows-at-end': {
        **_SUM,
        **_hook(phases=[dict(begin=0.5, windows=False)]),
    },
}

runs = [
    _run('simclr', 'baseline', 4),
    _run('simclr', 'paper', 4),
    *(_run('simclr', name, 4, options) for name, options in _CANDIDATES.items()),
    # the frontier: baselines whose schedule is shortened
    *(_run('simclr', 'baseline', epochs) for epochs in (3, 2)),
    *(_run('simclr', name, 4, options) for name, options in _ABLATIONS.items()),
    # Table 10: sides of 196 and 128 of 224
    _run('simclr', 'baseline-21px', 4, _views(21)),
    _run('simclr', 'baseline-14px', 4, _views(14)),
]
