# Views that grow from a half by two thirds to their whole side in the first half of the
# training, then freezing as in ./freezing.py. The whole network with its last loss
# throughout. Half of the baseline's time per epoch: train a third more epochs.
# research/report.md has the evidence.
_base_ = './freezing.py'

grow_freeze = [
    dict(until=0.25, view_scale=1 / 2, exit_probs=(0, 0, 0, 1)),
    dict(until=0.5, view_scale=2 / 3, exit_probs=(0, 0, 0, 1)),
    *_base_.freezing[1:],
]
