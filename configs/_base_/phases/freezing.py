# The stem and stage 1 rest from half of the training on, stage 2 too from three
# quarters on: they settle first, and the learning rate falls (FreezeOut, arXiv
# 1706.04983). Meant for `exit_probs=(0, 0, 0, 1)`, the last loss in every update.
# docs/study/report.md has the evidence.
freezing = [
    dict(begin=0.5, entry_probs=(0, 1)),
    dict(begin=0.75, entry_probs=(0, 0, 1)),
]
