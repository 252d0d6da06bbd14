#!/usr/bin/env bash
# Train and evaluate a detection benchmark on a cluster managed by Slurm.
set -euo pipefail

if [ $# -lt 4 ] || [ "$1" = --help ] || [ "$1" = -h ]; then
    cat <<'HELP'
usage: bash tools/benchmarks/mmdetection/slurm_train.sh PARTITION JOB_NAME CONFIG CKPT
           [arguments of tools/train.py]

CKPT is a pretraining checkpoint, as for dist_train.sh. Learning rates are for 8 GPUs
with 2 images each, the default here; for another number add --auto-scale-lr. Variables
are those of tools/slurm_train.sh.

example:
  bash tools/benchmarks/mmdetection/slurm_train.sh gpu det \
      configs/benchmarks/mmdetection/faster-rcnn_r50-c4_voc07_frozen.py \
      work_dirs/mocov2_r50_8xb32/epoch_200.pth
HELP
    [ $# -ge 1 ] && { [ "$1" = --help ] || [ "$1" = -h ]; } && exit 0
    exit 2
fi

TOOLS=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
exec bash "$TOOLS/slurm_train.sh" "$1" "$2" "$3" --pretrained "$4" "${@:5}"
