# The whole network with its last loss; the stem and stage 1 are frozen from half of the
# training on, stage 2 too from three quarters on: they settle first, and the learning
# rate falls (FreezeOut, arXiv 1706.04983). research/report.md has the evidence.
freezing = [
    dict(until=0.5, exit_probs=(0, 0, 0, 1)),
    dict(until=0.75, exit_probs=(0, 0, 0, 1), entry_probs=(0, 1)),
    dict(until=1.0, exit_probs=(0, 0, 0, 1), entry_probs=(0, 0, 1)),
]
