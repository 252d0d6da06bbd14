#!/usr/bin/env bash
# Train and evaluate a linear classifier on a pretraining checkpoint's frozen features.
set -euo pipefail

if [ $# -lt 3 ] || [ "$1" = --help ] || [ "$1" = -h ]; then
    cat <<'HELP'
usage: bash tools/benchmarks/classification/dist_train_linear.sh CONFIG CKPT GPUS
           [arguments of tools/train.py]

CKPT is a pretraining checkpoint, or another file with a backbone's weights and then
--prefix. A file that does not fit the backbone is refused. Each method has a schedule
of its own; the learning rates are for 8 GPUs with the config's batch each, and for
another number add --auto-scale-lr. The last accuracy is written to result.json in the
work directory. Variables are those of tools/dist_train.sh.

examples:
  bash tools/benchmarks/classification/dist_train_linear.sh \
      configs/benchmarks/classification/moco_r50_linear_in1k.py \
      work_dirs/mocov2_r50_8xb32/epoch_200.pth 8 --work-dir work_dirs/mocov2_linear
  bash tools/benchmarks/classification/dist_train_linear.sh \
      configs/benchmarks/classification/stages_r50_linear_in1k.py \
      work_dirs/simclr_r50_8xb32/epoch_200.pth 4 --auto-scale-lr --resume
HELP
    [ $# -ge 1 ] && { [ "$1" = --help ] || [ "$1" = -h ]; } && exit 0
    exit 2
fi

TOOLS=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
exec bash "$TOOLS/dist_train.sh" "$1" "$3" --pretrained "$2" "${@:4}"
