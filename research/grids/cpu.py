# The study at the size of two CPU cores: a quarter of the channels, views of 24 px,
# 128 images a step, bf16. research/protocol.md says why.
_base_ = './variants.py'

_monitor = 'default_hooks.knn.'
_side = 'train_dataloader.dataset.pipeline.0.transforms.0.0.size'


common = dict(
    width=16,
    amp='bf16',
    options={
        _side: 24,
        'train_dataloader.batch_size': 128,
        'train_dataloader.num_workers': 0,
        'train_dataloader.persistent_workers': False,
        'default_hooks.throughput.clock': 'cpu',
        'default_hooks.checkpoint.interval': 2,
        _monitor + 'interval': 4,
        _monitor + 'max_train': 10000,
        _monitor + 'initial': False,
        _monitor + 'train_dataloader.num_workers': 0,
        _monitor + 'test_dataloader.num_workers': 0,
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
    },
)

# multi-crop at the size of this grid
_large, *_colours = _base_.view_pipeline
_views = {
    'train_dataloader.dataset.pipeline.0.transforms': [
        [dict(_large, size=size, scale=scale), *_colours]
        for size, scale in ((24, _large.scale), (12, (0.05, _large.scale[0])))
    ]
}

variants = {
    # Table 10: sides of 196 and 128 of 224
    'baseline-21px': {_side: 21},
    'baseline-14px': {_side: 14},
    'multi-crop': {**_base_.variants['multi-crop'], **_views},
    'multi-crop-freeze': {**_base_.variants['multi-crop-freeze'], **_views},
}

_evaluated = dict(evaluate_on=['test'], stages=True)
runs = [
    # Tables 1 and 8
    dict(
        methods=['simclr'],
        variants=['baseline', 'exits-first', 'entries', 'freeze', 'grow-freeze'],
        epochs=[16],
        seeds=[0, 1, 2],
        **_evaluated,
    ),
    # the times of exits-first and grow-freeze, and that of freeze
    dict(
        methods=['simclr'],
        variants=['baseline'],
        epochs=[11],
        seeds=[0, 1, 2],
        **_evaluated,
    ),
    dict(methods=['simclr'], variants=['baseline'], epochs=[14], **_evaluated),
    dict(methods=['simclr'], variants=['paper'], epochs=[16], **_evaluated),
    # does twice the schedule change what is lost
    dict(
        methods=['simclr'],
        variants=['baseline', 'exits-first'],
        epochs=[32],
        **_evaluated,
    ),
    # which of the short schedules' winners still wins in a long one
    dict(
        methods=['simclr'],
        variants=[
            'progressive-50',
            'full-sum-progressive-50',
            'pb-sum-progressive-50',
            'pb-sum-progressive-50-whole-end',
            'entries-late',
            'exits-then-entries',
            'freeze-early',
        ],
        epochs=[16],
    ),
    dict(methods=['simclr'], variants=['paper'], epochs=[4]),
    dict(methods=['simclr'], variants=['baseline'], epochs=[4], seeds=[0, 1, 2]),
    dict(
        methods=['simclr'],
        variants=[
            'pb-sum',
            'full-sum',
            'paper-sum',
            'pb-sum-progressive-67',
            'progressive-67',
            'full-sum-progressive-67',
            'pb-sum-progressive-50',
            'progressive-50',
            'full-sum-progressive-50',
            'pb-late',
            'pb-sum-late',
            'pb-sum-moving',
            'pb-sum-lr',
            'pb-sum-unbiased',
            'paper-sum-large-views',
            'paper-sum-easy',
            'paper-sum-random',
            'paper-sum-random-progressive-50',
            'paper-sum-ratio-90',
            'paper-sum-after-1',
            'paper-sum-no-windows-at-end',
            'pb-sum-late-progressive-67',
            'pb-sum-late-progressive-50',
        ],
        epochs=[4],
    ),
    # a queue of keys that are all young, in a long schedule
    dict(
        methods=['mocov2'],
        variants=['baseline-queue-512', 'exits-first-queue-512', 'paper-queue-512'],
        epochs=[16],
        spread=True,
        **_evaluated,
    ),
    # the other methods, in a long schedule and in a short one
    dict(
        methods=['mocov2'],
        variants=['baseline', 'paper', 'exits-first', 'freeze'],
        epochs=[16],
        spread=True,
        **_evaluated,
    ),
    dict(
        methods=['swav', 'mocov1'],
        variants=['baseline', 'paper'],
        epochs=[16],
        **_evaluated,
    ),
    dict(methods=['mocov2'], variants=['baseline'], epochs=[11], **_evaluated),
    dict(
        methods=['mocov2', 'mocov1', 'swav'],
        variants=['baseline', 'paper'],
        epochs=[4],
    ),
    dict(
        methods=['mocov2'],
        variants=['pb-sum', 'full-sum', 'pb-sum-progressive-50', 'exits-first'],
        epochs=[4],
    ),
    dict(
        methods=['mocov2'],
        variants=[
            f'{name}-{change}'
            for change in ('momentum-999', 'queue-512')
            for name in ('paper', 'exits-first', 'pb-sum', 'baseline')
        ],
        epochs=[4],
    ),
    dict(methods=['simclr'], variants=['exits-first'], epochs=[4]),
    # the frontier: baselines whose schedule is shortened
    dict(methods=['simclr'], variants=['baseline'], epochs=[3, 2], seeds=[0, 1, 2]),
    dict(methods=['mocov2'], variants=['baseline'], epochs=[3]),
    # the best of a short schedule
    dict(
        methods=['simclr'],
        variants=['pb-sum-progressive-50', 'full-sum-progressive-50'],
        epochs=[4],
        seeds=[1, 2],
    ),
    dict(
        methods=['simclr'],
        variants=[
            'pb',
            'hp',
            'hp-sum',
            'skipping',
            'nearby-block',
            'easy-pair',
            'hard-example',
            'candidates-1',
            'candidates-10',
            'baseline-21px',
            'baseline-14px',
        ],
        epochs=[4],
    ),
    # the time of exits-first over 32 epochs
    dict(methods=['simclr'], variants=['baseline'], epochs=[22], **_evaluated),
]
