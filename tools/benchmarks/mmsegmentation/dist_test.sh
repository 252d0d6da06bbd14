#!/usr/bin/env bash
# Evaluate a trained segmentor.
set -euo pipefail

if [ $# -lt 3 ] || [ "$1" = --help ] || [ "$1" = -h ]; then
    cat <<'HELP'
usage: bash tools/benchmarks/mmsegmentation/dist_test.sh CONFIG CKPT GPUS
           [arguments of tools/test.py]

CKPT is what dist_train.sh saved, not a pretraining checkpoint. Variables are those of
tools/dist_test.sh.

example:
  bash tools/benchmarks/mmsegmentation/dist_test.sh \
      configs/benchmarks/mmsegmentation/pspnet_r50-d8_voc12aug_frozen.py \
      work_dirs/pspnet_r50-d8_voc12aug_frozen/iter_40000.pth 4 --out segmentation.json
HELP
    [ $# -ge 1 ] && { [ "$1" = --help ] || [ "$1" = -h ]; } && exit 0
    exit 2
fi

TOOLS=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
exec bash "$TOOLS/dist_test.sh" "$@"
