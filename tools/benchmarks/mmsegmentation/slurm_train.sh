#!/usr/bin/env bash
# Train and evaluate a segmentation benchmark on a cluster managed by Slurm.
set -euo pipefail

if [ $# -lt 4 ] || [ "$1" = --help ] || [ "$1" = -h ]; then
    cat <<'HELP'
usage: bash tools/benchmarks/mmsegmentation/slurm_train.sh PARTITION JOB_NAME CONFIG
           CKPT [arguments of tools/train.py]

CKPT is a pretraining checkpoint, as for dist_train.sh. Learning rates are for 4 GPUs
with 4 images each, the default here; for another number add --auto-scale-lr.

environment:
  GPUS (4)  GPUS_PER_NODE (4)  and the others of tools/slurm_train.sh

example:
  bash tools/benchmarks/mmsegmentation/slurm_train.sh gpu seg \
      configs/benchmarks/mmsegmentation/pspnet_r50-d8_voc12aug_frozen.py \
      work_dirs/mocov2_r50_8xb32/epoch_200.pth
HELP
    [ $# -ge 1 ] && { [ "$1" = --help ] || [ "$1" = -h ]; } && exit 0
    exit 2
fi

TOOLS=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
GPUS=${GPUS:-4} GPUS_PER_NODE=${GPUS_PER_NODE:-4} \
exec bash "$TOOLS/slurm_train.sh" "$1" "$2" "$3" --pretrained "$4" "${@:5}"
