# The study at its full size: one CUDA GPU, 32 px, 512 images a step, 200 epochs.
_base_ = './variants.py'

_side = 'train_dataloader.dataset.pipeline.0.transforms.0.0.size'

# an epoch has 87 iterations: step times are means over all of them
common = dict(
    amp='fp16',
    options={'default_hooks.logger.interval': 29, 'log_processor.window_size': 29},
)

# Table 10: sides of 196 and 128 of 224
variants = {'baseline-28px': {_side: 28}, 'baseline-18px': {_side: 18}}

_methods = ['mocov2', 'mocov1', 'simclr', 'swav']
_main = dict(evaluate_on=['test'], stages=True, seeds=[0, 1, 2])
runs = [
    # Tables 1 and 8, Figure 3; baselines of 0.65 of the time
    dict(methods=_methods, variants=['baseline'], epochs=[200, 130], **_main),
    dict(
        methods=_methods,
        variants=['paper', 'exits-first', 'freeze', 'grow-freeze'],
        epochs=[200],
        **_main,
    ),
    # equal accuracy in less time, as in equal.py: 22 and 18 of 16 epochs
    dict(methods=['simclr'], variants=['grow-freeze'], epochs=[275], **_main),
    dict(methods=['mocov2'], variants=['grow-freeze-batch'], epochs=[225], **_main),
    dict(
        methods=['simclr'],
        variants=['grow-freezeout'],
        epochs=[250],
        evaluate_on=['test'],
    ),
    dict(
        methods=['simclr'],
        variants=[
            'decoupled',
            'asymmetric',
            'asymmetric-freeze',
            'late-sum-random',
            'late-sum-random-whole-end',
            'freezeout',
            'freezeout-folded',
        ],
        epochs=[200],
        evaluate_on=['test'],
    ),
    dict(
        methods=['mocov2'],
        variants=[
            'batch-negatives',
            'freeze-batch',
            'paper-batch',
            'asymmetric-batch',
            'late-sum-random-batch',
            'late-sum-random-batch-whole-end',
        ],
        epochs=[200],
        evaluate_on=['test'],
    ),
    # multi-crop: the time of the baseline's 200 epochs by operations
    dict(
        methods=['simclr'],
        variants=['multi-crop', 'multi-crop-freeze'],
        epochs=[150],
        evaluate_on=['test'],
    ),
    dict(
        methods=['mocov2'],
        variants=['multi-crop'],
        epochs=[137],
        evaluate_on=['test'],
    ),
    dict(
        methods=['simclr'],
        variants=['grow-freeze-decoupled'],
        epochs=[250],
        evaluate_on=['test'],
    ),
    # the frontier
    dict(methods=['mocov2', 'simclr'], variants=['baseline'], epochs=[175, 100, 65]),
    # Tables 4 to 7 and 10
    dict(
        methods=['mocov2', 'simclr'],
        variants=[
            'pb',
            'hp',
            'skipping',
            'nearby-block',
            'easy-pair',
            'random-pair',
            'hard-example',
            'candidates-1',
            'candidates-4',
            'candidates-10',
            'baseline-28px',
            'baseline-18px',
        ],
        epochs=[200],
    ),
    # ours
    dict(
        methods=['mocov2', 'simclr'],
        variants=[
            'full-sum',
            'paper-sum',
            'pb-sum',
            'pb-sum-progressive-50',
            'progressive-50',
            'entries',
            'pb-sum-progressive-67',
            'progressive-67',
            'full-sum-progressive-67',
            'pb-sum-late',
            'pb-sum-moving',
            'pb-sum-whole-end',
            'pb-sum-lr',
            'paper-sum-large-views',
            'baseline-large-views',
            'paper-sum-no-windows-at-end',
        ],
        epochs=[200],
    ),
]
