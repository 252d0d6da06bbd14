# Exits and summed losses in the first quarter, on views of half the side, where they
# learn faster than the whole network does; then the whole network with its last loss,
# on views of two thirds, and of their whole side from 0.64 on.
# research/report.md has the evidence.
exits_first = [
    dict(until=0.25, view_scale=1 / 2, loss_on='cumulative'),
    dict(until=0.64, view_scale=2 / 3, loss_on='exit', exit_probs=(0, 0, 0, 1)),
    dict(until=1.0, loss_on='exit', exit_probs=(0, 0, 0, 1)),
]
