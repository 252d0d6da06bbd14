#!/usr/bin/env bash
# Train with several processes on each of one or more machines, through torchrun.
source "$(dirname "${BASH_SOURCE[0]}")/_launch.sh"

usage() {
  cat <<HELP
usage: bash tools/dist_train.sh CONFIG GPUS [arguments of tools/train.py]

$VARIABLES

examples:
  bash tools/dist_train.sh configs/accel/mocov2_r50_8xb32.py 8
  bash tools/dist_train.sh configs/accel/mocov2_r50_8xb32.py 8 --resume
  NNODES=2 NODE_RANK=0 MASTER_ADDR=10.0.0.1 \\
      bash tools/dist_train.sh configs/accel/mocov2_r50_8xb32.py 4
HELP
}

explain 2 "$@"
torchrun "$2" train.py "$1" --launcher pytorch "${@:3}"
