#!/usr/bin/env bash
# Train and evaluate a linear classifier on a cluster managed by Slurm.
set -euo pipefail

if [ $# -lt 4 ] || [ "$1" = --help ] || [ "$1" = -h ]; then
    cat <<'HELP'
usage: bash tools/benchmarks/classification/slurm_train_linear.sh PARTITION JOB_NAME
           CONFIG CKPT [arguments of tools/train.py]

CKPT is a pretraining checkpoint, as for dist_train_linear.sh. The learning rates are
for 8 GPUs with the config's batch each; for another number add --auto-scale-lr.
Variables are those of tools/slurm_train.sh.

example:
  bash tools/benchmarks/classification/slurm_train_linear.sh gpu linear \
      configs/benchmarks/classification/moco_r50_linear_in1k.py \
      work_dirs/mocov2_r50_8xb32/epoch_200.pth
HELP
    [ $# -ge 1 ] && { [ "$1" = --help ] || [ "$1" = -h ]; } && exit 0
    exit 2
fi

TOOLS=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
exec bash "$TOOLS/slurm_train.sh" "$1" "$2" "$3" --pretrained "$4" "${@:5}"
