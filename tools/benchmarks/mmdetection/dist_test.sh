#!/usr/bin/env bash
# Evaluate a trained detector.
set -euo pipefail

if [ $# -lt 3 ] || [ "$1" = --help ] || [ "$1" = -h ]; then
    cat <<'HELP'
usage: bash tools/benchmarks/mmdetection/dist_test.sh CONFIG CKPT GPUS
           [arguments of tools/test.py]

CKPT is what dist_train.sh saved, not a pretraining checkpoint. Variables are those of
tools/dist_test.sh.

example:
  bash tools/benchmarks/mmdetection/dist_test.sh \
      configs/benchmarks/mmdetection/faster-rcnn_r50-c4_voc07_frozen.py \
      work_dirs/faster-rcnn_r50-c4_voc07_frozen/iter_8000.pth 8 --out detection.json
HELP
    [ $# -ge 1 ] && { [ "$1" = --help ] || [ "$1" = -h ]; } && exit 0
    exit 2
fi

TOOLS=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
exec bash "$TOOLS/dist_test.sh" "$@"
