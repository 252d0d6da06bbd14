#!/usr/bin/env bash
# Every figure of docs/performance.md, measured again on this machine.
set -euo pipefail

if [[ "${1:-}" == -h || "${1:-}" == --help ]]; then
  cat <<'HELP'
usage: bash benchmarks/measure.sh --out FOLDER [--device cpu|cuda] [--images FOLDER]
           [--only PART,...]

Parts, each a command that can be run alone (printed before it runs):
  core           a training step of MoCo v2, SimCLR and SwAV beside upstream's: under
                 eight minutes on one data-center GPU; run it alone if time is short
  steps          core, truncated keys, and a step of every small recipe
  off            the same with windows and exits switched off
  compare        MoCo v2 and SimCLR beside upstream and lightly, in one process
  communication  bytes that two processes reduce, wrapper beside wrapper
  roofline       operations, bytes and the least time they take (CPU only)
  data           views per second of the loaders, of the photographs in FOLDER
  batch          the largest batch that fits (CUDA only)

Results: FOLDER/<device>-*.json, and one table of the steps at the end; those of
docs/performance.md are in benchmarks/results. What is in FOLDER already is not measured
again: after an interruption run the same command. Nothing is downloaded. Leave the
machine alone meanwhile: a quarter of an hour on two CPU cores. PYTHON names the interpreter (default:
.venv/bin/python of the repository, else python).

examples:
  bash benchmarks/measure.sh --out measured --images photos
  bash benchmarks/measure.sh --out measured --device cuda --images imagenet/val \
      --only steps,compare
  bash benchmarks/measure.sh --out measured --device cuda --only core
HELP
  exit 0
fi

ALL=core,steps,off,compare,communication,roofline,data,batch
DEVICE=cpu IMAGES='' RESULTS='' PARTS=$ALL
while [[ $# -gt 0 ]]; do
  [[ $# -ge 2 ]] || { echo "error: $1 needs a value; see --help" >&2; exit 2; }
  case $1 in
    --device) DEVICE=$2 ;;
    --images) IMAGES="$(realpath "$2")" ;;
    --only) PARTS=$2 ;;
    --out) RESULTS="$(realpath "$2")" ;;
    *) echo "error: unknown option $1; see --help" >&2; exit 2 ;;
  esac
  shift 2
done
[[ -n "$RESULTS" ]] || { echo "error: --out FOLDER is needed; see --help" >&2; exit 2; }
for part in ${PARTS//,/ }; do
  [[ ",$ALL," == *",$part,"* ]] || { echo "error: --only $part: no part of $ALL" >&2; exit 2; }
done

cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [[ -z "${PYTHON:-}" ]]; then
  PYTHON=python
  [[ -x .venv/bin/python ]] && PYTHON=.venv/bin/python
fi
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
mkdir -p "$RESULTS"

if [[ "$DEVICE" == cpu ]]; then
  STEP=(--device cpu --batch-size 8 --iters 7)
  SMALL=(--device cpu --batch-size 64 --iters 15)
  COMPARE=(--device cpu --batch-size 8 --rounds 5)
else
  STEP=(--device "$DEVICE" --batch-size 256 --iters 20 --precision bf16)
  SMALL=(--device "$DEVICE" --batch-size 512 --iters 30 --precision bf16)
  COMPARE=(--device "$DEVICE" --batch-size 256 --rounds 15 --precision bf16)
fi

wanted() { [[ ",$PARTS," == *",$1,"* ]]; }
run() {  # the last argument is the file of its figures
  if [[ -s "${*: -1}" ]]; then
    echo "= ${*: -1} is there"
    return
  fi
  echo "+ $PYTHON $*"
  "$PYTHON" "$@"
}
step() {
  local name=$1
  shift
  run tools/analysis_tools/benchmark_step.py "$@" --baseline-like \
    --json "$RESULTS/$DEVICE-$name.json"
}

if wanted core || wanted steps; then
  for name in mocov2 simclr swav; do
    step "${name}_r50_8xb32" "configs/accel/${name}_r50_8xb32.py" "${STEP[@]}"
  done
fi
if wanted steps; then
  step mocov2_truncated-keys configs/ablations/mocov2_truncated-keys.py "${STEP[@]}"
  for name in fashion-mnist_quickstart fashion-mnist cifar10; do
    step "mocov2_r18_$name" "configs/small/accel-mocov2_r18_$name.py" "${SMALL[@]}"
  done
fi
if wanted off; then
  OFF=(--cfg-options model.crop_layer=None custom_hooks='[]')
  step mocov2_off configs/accel/mocov2_r50_8xb32.py "${STEP[@]}" "${OFF[@]}"
  step simclr_off configs/accel/simclr_r50_8xb32.py "${STEP[@]}" "${OFF[@]}"
fi
if wanted compare; then
  run benchmarks/compare.py "${COMPARE[@]}" --json "$RESULTS/$DEVICE.json"
fi
if wanted communication; then
  for name in mocov2 simclr swav; do
    run benchmarks/communication.py "configs/accel/${name}_r50_8xb32.py" --size 64 \
      --device "${DEVICE%%:*}" --json "$RESULTS/$DEVICE-communication_${name}.json"
  done
fi
if wanted roofline && [[ "$DEVICE" == cpu ]]; then
  for name in mocov2 simclr swav; do
    run benchmarks/roofline.py "configs/accel/${name}_r50_8xb32.py" \
      --batch-size 8 --json "$RESULTS/cpu-roofline_${name}_r50_8xb32.json"
  done
fi
if wanted data && [[ -n "$IMAGES" ]]; then
  # where the CPU trains, steps and workers share the cores: waiting says nothing
  WAIT=(--workers 16 --batch-size 256)
  [[ "$DEVICE" != cpu ]] || WAIT=(--step-ms 0 --rounds 5)
  run tools/analysis_tools/benchmark_data.py configs/accel/mocov2_r50_8xb32.py \
    --compare --images "$IMAGES" "${WAIT[@]}" --json "$RESULTS/$DEVICE-data.json"
fi
if wanted batch && [[ "$DEVICE" != cpu ]]; then
  run tools/analysis_tools/find_batch_size.py configs/accel/mocov2_r50_8xb32.py \
    --device "$DEVICE" --precision bf16 --json "$RESULTS/$DEVICE-batch.json"
fi
"$PYTHON" benchmarks/measured.py "$RESULTS" "$DEVICE"
