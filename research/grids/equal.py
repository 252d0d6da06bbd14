# Equal accuracy in less time: what survives is run with three seeds, over 16 epochs or
# as many as fit the time of the baseline's 16.
_base_ = './cpu.py'

_evaluated = dict(evaluate_on=['test'])
runs = [
    dict(methods=['simclr'], variants=['grow-freeze'], epochs=[20, 22], **_evaluated),
    dict(methods=['simclr'], variants=['decoupled'], epochs=[11, 16], **_evaluated),
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
            'grow-freeze-batch',
            'paper-batch',
            'asymmetric-batch',
        ],
        epochs=[16],
        **_evaluated,
    ),
]
