#!/usr/bin/env bash
# Evaluate a trained linear classifier.
set -euo pipefail

if [ $# -lt 3 ] || [ "$1" = --help ] || [ "$1" = -h ]; then
    cat <<'HELP'
usage: bash tools/benchmarks/classification/dist_test_linear.sh CONFIG CKPT GPUS
           [arguments of tools/test.py]

CKPT is what dist_train_linear.sh saved, not a pretraining checkpoint. Variables are
those of tools/dist_test.sh.

example:
  bash tools/benchmarks/classification/dist_test_linear.sh \
      configs/benchmarks/classification/moco_r50_linear_in1k.py \
      work_dirs/mocov2_linear/epoch_100.pth 8 --out linear.json
HELP
    [ $# -ge 1 ] && { [ "$1" = --help ] || [ "$1" = -h ]; } && exit 0
    exit 2
fi

TOOLS=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
exec bash "$TOOLS/dist_test.sh" "$@"
