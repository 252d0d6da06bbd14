#!/usr/bin/env bash
# Evaluate a pretrained backbone by everything that the paper reports.

STEPS=(linear knn stages detection-frozen detection segmentation-frozen segmentation)

usage() {
  cat <<'HELP'
usage: bash tools/benchmarks/run_all.sh CKPT GPUS [options] [-- arguments of tools/train.py]

Runs, one after the other, from one pretraining checkpoint of a ResNet-50:
  linear                linear classification on ImageNet, the method's own schedule
  knn                   k-nearest-neighbour classification on ImageNet
  stages                linear classification after every stage, in one run
  detection-frozen      Faster R-CNN C4 on VOC07, backbone frozen
  detection             the same, backbone trained
  segmentation-frozen   PSPNet on VOC12 and SBD, backbone frozen
  segmentation          the same, backbone trained
and prints the tables. A step with a result of the same weights and prefix is not run
again; one of other weights is refused. A step that was interrupted goes on from its
last checkpoint; one that fails does not keep the others from running, and the exit code
is then 1.

Data is expected in data/imagenet and data/VOCdevkit (folders or links);
tools/dataset_converters/{check_imagenet,prepare_voc}.py check it.

  --work-dir DIR   where results go (default: benchmarks/<checkpoint>, with a seed
                   benchmarks/<checkpoint>-seed<N>, with a prefix of its own
                   benchmarks/<checkpoint>-<prefix>, beside the checkpoint)
  --only A,B       these steps
  --method NAME    moco, simclr or swav, whose linear schedule is used (default: what
                   the checkpoint says of itself)
  --config FILE    the pretraining's config, for knn (default: the one beside CKPT)
  --prefix P       what the names of the backbone start with (default: backbone.)
  --seed N         seed of every step
  --dry-run        print the commands

GPUS is the number of processes, one per GPU. Classification scales its learning rate to
them; detection and segmentation keep 16 images per iteration, so that GPUS has to
divide 16.

examples:
  bash tools/benchmarks/run_all.sh work_dirs/mocov2_r50_8xb32/epoch_200.pth 8
  bash tools/benchmarks/run_all.sh epoch_200.pth 4 --only detection,segmentation -- --amp
HELP
}

set -euo pipefail
if [[ "${1:-}" == -h || "${1:-}" == --help ]]; then usage; exit 0; fi
if [[ $# -lt 2 ]]; then usage >&2; exit 2; fi

say() { echo "[benchmarks] $*"; }
die() { echo "[benchmarks] error: $*" >&2; exit 1; }

CKPT=$1
GPUS=$2
shift 2
WORK_DIR= PREFIX=backbone.
ONLY= METHOD= CONFIG= SEED= DRY=
while [[ $# -gt 0 && $1 != -- ]]; do
  case $1 in
    --dry-run) DRY=1; shift; continue ;;
    --work-dir | --only | --method | --config | --prefix | --seed) ;;
    *) die "unknown option $1; see --help" ;;
  esac
  [[ $# -ge 2 ]] || die "$1 needs a value; see --help"
  case $1 in
    --work-dir) WORK_DIR=$2 ;;
    --only) ONLY=$2 ;;
    --method) METHOD=$2 ;;
    --config) CONFIG=$2 ;;
    --prefix) PREFIX=$2 ;;
    --seed) SEED=$2 ;;
  esac
  shift 2
done
[[ "${1:-}" != -- ]] || shift
EXTRA=("$@")
if [[ -z "$WORK_DIR" ]]; then
  stem="$(basename "$CKPT")"
  WORK_DIR="$(dirname "$CKPT")/benchmarks/${stem%.*}${SEED:+-seed$SEED}"
  # a checkpoint may hold several backbones
  [[ "$PREFIX" == backbone. || -z "$PREFIX" ]] || WORK_DIR+="-${PREFIX%.}"
fi

source "$(dirname "${BASH_SOURCE[0]}")/../_launch.sh"
processes GPUS "$GPUS"
BENCHMARKS="$ROOT/configs/benchmarks"
[[ -f "$CKPT" ]] || die "there is no checkpoint $CKPT"

if [[ -n "$ONLY" ]]; then
  IFS=, read -ra WANTED <<<"$ONLY"
  for step in "${WANTED[@]}"; do
    [[ " ${STEPS[*]} " == *" $step "* ]] || die "there is no step $step; see --help"
  done
  STEPS=("${WANTED[@]}")
fi

# The family whose linear schedule fits, from the checkpoint itself.
family() {
  local method="$METHOD"
  if [[ -z "$method" ]]; then
    method="$("$PYTHON" -c '
import sys
from mmaccel.evaluation.recipe import parse_config, read_recipe
from mmaccel.evaluation.record import checkpoint_meta, load_checkpoint
meta = checkpoint_meta(load_checkpoint(sys.argv[1]))
recipe = read_recipe(parse_config(str(meta.get("cfg", ""))))
print(recipe.method if recipe else "")' "$CKPT" | tail -n 1)"
  fi
  case "${method,,}" in
    *moco*) echo moco ;;
    *simclr*) echo simclr ;;
    *swav*) echo swav ;;
    *) die "the checkpoint does not say which method trained it; give --method" ;;
  esac
}

pretraining_config() {
  if [[ -n "$CONFIG" ]]; then echo "$CONFIG"; return; fi
  local found
  found="$(find "$(dirname "$CKPT")" -maxdepth 1 -name '*.py')"
  [[ -n "$found" && "$found" != *$'\n'* ]] \
    || die "there is not one config beside $CKPT; name the pretraining's with --config"
  echo "$found"
}

run() {
  if [[ -n "$DRY" ]]; then echo "${*@Q}"; else "$@"; fi
}

# Downstream schedules count iterations: the images in one are part of the protocol.
train_by_iteration() {
  if (( 16 % GPUS )); then
    echo "[benchmarks] $1: GPUS=$GPUS does not divide the 16 images per iteration" >&2
    return 1
  fi
  train "$@" --cfg-options "train_dataloader.batch_size=$((16 / GPUS))"
}

train() {
  run bash "$ROOT/tools/dist_train.sh" "$BENCHMARKS/$2" "$GPUS" --pretrained "$CKPT" \
    --prefix "$PREFIX" --work-dir "$WORK_DIR/$1" --resume --auto-scale-lr \
    ${SEED:+--seed "$SEED"} "${@:3}" ${EXTRA[@]+"${EXTRA[@]}"}
}

step() {
  local config
  case $1 in
    linear)
      config="$(family)" || return
      train linear "classification/${config}_r50_linear_in1k.py"
      ;;
    stages) train stages classification/stages_r50_linear_in1k.py ;;
    knn)
      config="$(pretraining_config)" || return
      run "$PYTHON" "$ROOT/tools/benchmarks/classification/probe.py" "$config" "$CKPT" \
        --prefix "$PREFIX" --data-root data/imagenet --metrics knn \
        ${SEED:+--seed "$SEED"} --work-dir "$WORK_DIR"
      ;;
    detection) train_by_iteration "$1" mmdetection/faster-rcnn_r50-c4_voc07.py ;;
    detection-frozen)
      train_by_iteration "$1" mmdetection/faster-rcnn_r50-c4_voc07_frozen.py ;;
    segmentation) train_by_iteration "$1" mmsegmentation/pspnet_r50-d8_voc12aug.py ;;
    segmentation-frozen)
      train_by_iteration "$1" mmsegmentation/pspnet_r50-d8_voc12aug_frozen.py ;;
  esac
}

# 0 if the step has a result of these weights, 1 if it has none, 2 if of others.
done_before() {
  [[ -f "$WORK_DIR/$1/result.json" ]] || return 1
  "$PYTHON" -c '
import sys
from mmaccel.errors import ConfigError
from mmaccel.evaluation.record import is_result_of
try:
    sys.exit(not is_result_of(*sys.argv[1:]))
except ConfigError as error:
    print(f"[benchmarks] {error}", file=sys.stderr)
    sys.exit(2)' "$WORK_DIR/$1" "$CKPT" "$PREFIX"
}

FAILED=()
for name in "${STEPS[@]}"; do
  status=0
  done_before "$name" || status=$?
  case $status in
    0) say "$name: done before"; continue ;;
    1) say "$name" ;;
    *) FAILED+=("$name"); continue ;;
  esac
  if ! step "$name" || { [[ -z "$DRY" ]] && ! done_before "$name"; }; then
    FAILED+=("$name")
  fi
done

TABLES="$ROOT/research/paper_tables.py"  # the paper's layouts, in a checkout
[[ -f "$TABLES" ]] || TABLES="$ROOT/tools/analysis_tools/collect_results.py"
run "$PYTHON" "$TABLES" "$WORK_DIR" || FAILED+=(tables)
if [[ ${#FAILED[@]} -gt 0 ]]; then
  die "not finished: ${FAILED[*]}; the messages are above. Run the same command again"
fi
