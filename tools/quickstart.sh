#!/usr/bin/env bash
# From a fresh clone to a comparison of MoCo v2, the paper's method and the best preset.

usage() {
  cat <<'HELP'
Train MoCo v2 on Fashion-MNIST three times and compare: as upstream has it, with exits
and windows as the paper has them, and with what won in our study. It measures a few
steps first and chooses as many epochs as end within ten minutes on two CPU cores, once
the Python environment is there.

  bash tools/quickstart.sh [--data DIR] [--epochs N] [--work-dir D] [-- KEY=VALUE ...]

  --data DIR     folder with the four idx or idx.gz files of Fashion-MNIST; by default
                 they are fetched into data/fashion-mnist: the Debian package, unpacked
                 without root, else the dataset's own download
  --epochs N     epochs of each training, however long they take
  --work-dir D   where results go (default: work_dirs/quickstart)
  KEY=VALUE      settings of all trainings, as tools/train.py --cfg-options takes them

What is there already is used again: environment, data, finished trainings. A training
that was interrupted goes on where its last epoch ended. tools/env.sh --help says how to
use an environment of your own.

Examples:
  bash tools/quickstart.sh
  bash tools/quickstart.sh --data /datasets/fashion-mnist --epochs 20
  bash tools/quickstart.sh --work-dir work_dirs/exits -- model.queue_len=4096
HELP
}

set -euo pipefail

say() { echo "[quickstart] $*"; }
die() { echo "[quickstart] error: $*" >&2; exit 1; }
need() { [[ $# -ge 2 ]] || die "$1 needs a value; see --help"; }

WORK_DIR=work_dirs/quickstart
DATA=
EPOCHS=
OPTIONS=()
HERE="$PWD"
while [[ $# -gt 0 ]]; do
  case "$1" in
    -h | --help) usage; exit 0 ;;
    --data) need "$@"; DATA="$2"; [[ "$DATA" == /* ]] || DATA="$HERE/$DATA"; shift 2 ;;
    --epochs) need "$@"; EPOCHS="$2"; shift 2 ;;
    --work-dir)
      need "$@"; WORK_DIR="$2"; [[ "$WORK_DIR" == /* ]] || WORK_DIR="$HERE/$WORK_DIR"
      shift 2 ;;
    --) shift; OPTIONS=("$@"); break ;;
    *) die "unknown argument $1; see --help" ;;
  esac
done
[[ "$EPOCHS" =~ ^([1-9][0-9]*)?$ ]] \
  || die "--epochs must be a positive number, not $EPOCHS"

cd "$(dirname "${BASH_SOURCE[0]}")/.."

run() {
  say 'Environment, data, then three trainings of MoCo v2: within ten minutes on two CPU' \
    'cores unless --epochs is given; a new environment takes some minutes more.'
  source tools/env.sh
  DATA="$("$MMACCEL_PYTHON" tools/dataset_converters/fashion_mnist.py \
    ${DATA:+--data "$DATA"})" || exit 1
  say "Data: $DATA"
  "$MMACCEL_PYTHON" tools/quickstart.py --data "$DATA" --work-dir "$WORK_DIR" \
    ${EPOCHS:+--epochs "$EPOCHS"} -- ${OPTIONS[@]+"${OPTIONS[@]}"}
}

# A process group of its own, so that a signal to this script reaches all it started.
set -m
run &
group=$!
stop() { kill -TERM -- "-$group"; wait "$group" || true; exit "$1"; }
trap 'stop 143' TERM
trap 'stop 130' INT
wait "$group"
