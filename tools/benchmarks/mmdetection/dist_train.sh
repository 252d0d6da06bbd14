#!/usr/bin/env bash
# Train and evaluate a detection benchmark from a pretraining checkpoint.
set -euo pipefail

if [ $# -lt 3 ] || [ "$1" = --help ] || [ "$1" = -h ]; then
    cat <<'HELP'
usage: bash tools/benchmarks/mmdetection/dist_train.sh CONFIG CKPT GPUS
           [arguments of tools/train.py]

CKPT is a pretraining checkpoint, or another file with a backbone's weights and then
--prefix. A file that does not fit the detector is refused. AP, AP50 and AP75 are
measured while it trains and at its end, by the 11-point protocol and by area. Learning
rates are for 8 GPUs with 2 images each; for another number add --auto-scale-lr.
Variables are those of tools/dist_train.sh.

examples:
  bash tools/benchmarks/mmdetection/dist_train.sh \
      configs/benchmarks/mmdetection/faster-rcnn_r50-c4_voc07_frozen.py \
      work_dirs/mocov2_r50_8xb32/epoch_200.pth 8
  bash tools/benchmarks/mmdetection/dist_train.sh \
      configs/benchmarks/mmdetection/faster-rcnn_r50-c4_voc07.py \
      work_dirs/mocov2_r50_8xb32/epoch_200.pth 4 --auto-scale-lr --seed 1 \
      --work-dir work_dirs/det_seed1
HELP
    [ $# -ge 1 ] && { [ "$1" = --help ] || [ "$1" = -h ]; } && exit 0
    exit 2
fi

TOOLS=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
exec bash "$TOOLS/dist_train.sh" "$1" "$3" --pretrained "$2" "${@:4}"
