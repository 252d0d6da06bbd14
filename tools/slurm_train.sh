#!/usr/bin/env bash
# Train on a cluster managed by Slurm.
source "$(dirname "${BASH_SOURCE[0]}")/_launch.sh"

usage() {
  cat <<'HELP'
usage: bash tools/slurm_train.sh PARTITION JOB_NAME CONFIG [arguments of tools/train.py]

environment:
  GPUS (8)  GPUS_PER_NODE (8, or GPUS if fewer)  CPUS_PER_TASK (5)  SRUN_ARGS ()
PYTHON names the interpreter; default .venv/bin/python of the repository, else python.

example:
  GPUS=16 SRUN_ARGS=--time=48:00:00 \
      bash tools/slurm_train.sh gpu accel configs/accel/mocov2_r50_8xb32.py --resume
HELP
}

explain 3 "$@"
GPUS=${GPUS:-8}
processes GPUS "$GPUS"
: "${GPUS_PER_NODE:=$((GPUS < 8 ? GPUS : 8))}"
processes GPUS_PER_NODE "$GPUS_PER_NODE"
# SRUN_ARGS is several arguments: no quotes
# shellcheck disable=SC2086
exec srun -p "$1" \
  --job-name="$2" \
  --gres="gpu:$GPUS_PER_NODE" \
  --ntasks="$GPUS" \
  --ntasks-per-node="$GPUS_PER_NODE" \
  --cpus-per-task="${CPUS_PER_TASK:-5}" \
  --kill-on-bad-exit=1 \
  ${SRUN_ARGS:-} \
  "$PYTHON" -u "$TOOLS/train.py" "$3" --launcher slurm "${@:4}"
