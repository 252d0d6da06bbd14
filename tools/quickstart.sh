#!/usr/bin/env bash
# From a fresh clone to a comparison of MoCo v2 and Accel-MoCo v2 on real images.

EPOCHS=8

usage() {
  cat <<HELP
Train upstream MoCo v2 and Accel-MoCo v2 on Fashion-MNIST and compare them: about seven
minutes on two CPU cores, once the Python environment is there.

  bash tools/quickstart.sh [--data DIR] [--epochs N] [--work-dir D] [-- KEY=VALUE ...]

  --data DIR     folder with the four idx or idx.gz files of Fashion-MNIST; by default
                 they are fetched into data/fashion-mnist: the Debian package, unpacked
                 without root, else the dataset's own download
  --epochs N     epochs of each training (default: $EPOCHS)
  --work-dir D   where results go (default: work_dirs/quickstart)
  KEY=VALUE      settings of both trainings, as tools/train.py --cfg-options takes them

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
[[ "$EPOCHS" =~ ^[1-9][0-9]*$ ]] || die "--epochs must be a positive number, not $EPOCHS"

cd "$(dirname "${BASH_SOURCE[0]}")/.."
say "Environment, data, then $EPOCHS epochs each of upstream MoCo v2 and Accel-MoCo v2:" \
  "about $((EPOCHS * 52 / 60 + 1)) minutes on two CPU cores; a new environment takes" \
  'some minutes more.'

source tools/env.sh
DATA="$("$MMACCEL_PYTHON" tools/dataset_converters/fashion_mnist.py \
  ${DATA:+--data "$DATA"})" || exit 1
say "Data: $DATA"

# name, config
train() {
  local dir="$WORK_DIR/$1-${EPOCHS}e" config="$2"
  if [[ -e "$dir/finished" ]]; then
    say "$1: finished before, used again (remove $dir to train anew)"
    return
  fi
  mkdir -p "$dir"
  say "$1: training, all output in $dir/train.log"
  local settings=(
    "train_dataloader.dataset.data_prefix=$DATA"
    "default_hooks.knn.train_dataloader.dataset.data_prefix=$DATA"
    "default_hooks.knn.test_dataloader.dataset.data_prefix=$DATA"
    "train_cfg.max_epochs=$EPOCHS"
    "param_scheduler.0.T_max=$EPOCHS"
    "param_scheduler.0.end=$EPOCHS"
  )
  if ! "$MMACCEL_PYTHON" -u tools/train.py "$config" --work-dir "$dir" --seed 0 --resume \
    --cfg-options "${settings[@]}" ${OPTIONS[@]+"${OPTIONS[@]}"} 2>&1 \
    | tee -a "$dir/train.log" | sed -u -n 's/.* - INFO - \(Epoch(.*\)/  \1/p'; then
    tail -n 5 "$dir/train.log" >&2
    die "$1 did not finish; all output is in $dir/train.log. The same command goes on" \
      'where its last epoch ended.'
  fi
  touch "$dir/finished"
}

train mocov2 configs/small/mocov2_r18_fashion-mnist_quickstart.py
train accel-mocov2 configs/small/accel-mocov2_r18_fashion-mnist_quickstart.py

"$MMACCEL_PYTHON" tools/quickstart_report.py "$WORK_DIR/mocov2-${EPOCHS}e" \
  "$WORK_DIR/accel-mocov2-${EPOCHS}e" --out "$WORK_DIR"
