# The whole network with its last loss, frozen as FreezeOut does (arXiv 1706.04983,
# cubic, t_0 = 0.8), with stages for its layers: they freeze at the cubes of 0.8, 0.867,
# 0.933 and 1. Use it with anneal='scaled' of the hook.
freezeout = [
    dict(until=0.512, exit_probs=(0, 0, 0, 1)),
    dict(until=0.651, exit_probs=(0, 0, 0, 1), entry_probs=(0, 1)),
    dict(until=0.813, exit_probs=(0, 0, 0, 1), entry_probs=(0, 0, 1)),
    dict(until=1.0, exit_probs=(0, 0, 0, 1), entry_probs=(0, 0, 0, 1)),
]
