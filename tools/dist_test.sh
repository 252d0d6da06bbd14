#!/usr/bin/env bash
# Evaluate with several processes on each of one or more machines, through torchrun.
source "$(dirname "${BASH_SOURCE[0]}")/_launch.sh"

usage() {
  cat <<HELP
usage: bash tools/dist_test.sh CONFIG CKPT GPUS [arguments of tools/test.py]

$VARIABLES

example:
  bash tools/dist_test.sh linear.py work_dirs/linear/epoch_100.pth 8 --out accuracy.json
HELP
}

explain 3 "$@"
torchrun "$3" test.py "$1" "$2" --launcher pytorch "${@:4}"
