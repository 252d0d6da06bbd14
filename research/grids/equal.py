# Equal accuracy in less time: what survives is run with three seeds, over 16 epochs or
# as many as fit the time of the baseline's 16.
_base_ = './cpu.py'

_evaluated = dict(evaluate_on=['test'])
runs = [
    dict(
        methods=['simclr'],
        variants=['grow-freeze'],
        epochs=[20, 22],
        seeds=[0, 1, 2],
        **_evaluated,
    ),
    dict(methods=['simclr'], variants=['decoupled'], epochs=[11, 16], **_evaluated),
    # what wins with the loss that helps its baseline, too
    dict(
        methods=['simclr'],
        variants=['grow-freeze-decoupled'],
        epochs=[20],
        seeds=[0, 1, 2],
        **_evaluated,
    ),
    dict(
        methods=['simclr'],
        variants=['late-sum-random', 'asymmetric', 'asymmetric-freeze'],
        epochs=[16],
        **_evaluated,
    ),
    dict(
        methods=['mocov2'],
        variants=[
            'batch-negatives',
            'late-sum-random-batch',
            'freeze-batch',
            'paper-batch',
        ],
        epochs=[16],
        **_evaluated,
    ),
    dict(
        methods=['mocov2'],
        variants=['asymmetric-batch'],
        epochs=[16],
        seeds=[0, 1, 2],
        **_evaluated,
    ),
    dict(
        methods=['mocov2'],
        variants=['grow-freeze-batch'],
        epochs=[18, 22],
        seeds=[0, 1, 2],
        **_evaluated,
    ),
    # the paper's two ideas at their best: exits and windows until the last quarter
    dict(
        methods=['simclr'],
        variants=['late-sum-random-whole-end'],
        epochs=[16],
        **_evaluated,
    ),
    dict(
        methods=['mocov2'],
        variants=['late-sum-random-batch-whole-end'],
        epochs=[16],
        **_evaluated,
    ),
    dict(
        methods=['simclr'],
        variants=['freezeout', 'freezeout-folded'],
        epochs=[16],
        **_evaluated,
    ),
    dict(methods=['simclr'], variants=['grow-freezeout'], epochs=[20], **_evaluated),
    # 16 epochs, and the time of the baseline's 16 by operations
    dict(methods=['simclr'], variants=['multi-crop'], epochs=[16, 12], **_evaluated),
    dict(methods=['mocov2'], variants=['multi-crop'], epochs=[16, 11], **_evaluated),
    # the best two combined
    dict(
        methods=['simclr'],
        variants=['multi-crop-freeze'],
        epochs=[12],
        seeds=[0, 1, 2],
        **_evaluated,
    ),
    # what seeds alone do to MoCo v2
    dict(
        methods=['mocov2'],
        variants=['baseline'],
        epochs=[16],
        seeds=[1, 2],
        **_evaluated,
    ),
    # the presets of the other methods, and MoCo v2's at a queue
    dict(methods=['mocov1', 'swav'], variants=['freeze'], epochs=[16], **_evaluated),
    dict(methods=['mocov2'], variants=['grow-freeze'], epochs=[18], **_evaluated),
    # the line of plain baselines beyond 16 epochs, for the speed-up of what exceeds it
    dict(methods=['mocov2'], variants=['baseline'], epochs=[22], **_evaluated),
]
