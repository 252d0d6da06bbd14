#!/usr/bin/env bash
# Train and evaluate a segmentation benchmark from a pretraining checkpoint.
set -euo pipefail

if [ $# -lt 3 ] || [ "$1" = --help ] || [ "$1" = -h ]; then
    cat <<'HELP'
usage: bash tools/benchmarks/mmsegmentation/dist_train.sh CONFIG CKPT GPUS
           [arguments of tools/train.py]

CKPT is a pretraining checkpoint, or another file with a backbone's weights and then
--prefix. A file that does not fit the backbone is refused. mIoU and pixel accuracy
(aAcc) are measured while it trains and at its end. Learning rates are for 4 GPUs with
4 images each; for another number add --auto-scale-lr. Variables are those of
tools/dist_train.sh.

examples:
  bash tools/benchmarks/mmsegmentation/dist_train.sh \
      configs/benchmarks/mmsegmentation/pspnet_r50-d8_voc12aug_frozen.py \
      work_dirs/mocov2_r50_8xb32/epoch_200.pth 4
  bash tools/benchmarks/mmsegmentation/dist_train.sh \
      configs/benchmarks/mmsegmentation/pspnet_r50-d8_voc12aug.py \
      work_dirs/mocov2_r50_8xb32/epoch_200.pth 8 --auto-scale-lr --seed 1 \
      --work-dir work_dirs/seg_seed1
HELP
    [ $# -ge 1 ] && { [ "$1" = --help ] || [ "$1" = -h ]; } && exit 0
    exit 2
fi

TOOLS=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
exec bash "$TOOLS/dist_train.sh" "$1" "$3" --pretrained "$2" "${@:4}"
