# Exits and summed losses in the first quarter, on views of half the side, where they
# learn faster than the whole network does; then the whole network with its last loss,
# on views of two thirds, and of their whole side from 0.64 on.
# docs/study/report.md has the evidence.
exits_first = [
    dict(begin=0, view_scale=1 / 2, supervision='cumulative'),
    dict(begin=0.25, view_scale=2 / 3, supervision='exit', exit_probs=(0, 0, 0, 1)),
    dict(begin=0.64, view_scale=1),
]
