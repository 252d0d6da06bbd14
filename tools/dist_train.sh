#!/usr/bin/env bash
# Train with several processes on each of one or more machines, through torchrun.
set -euo pipefail

if [ $# -lt 2 ] || [ "$1" = --help ] || [ "$1" = -h ]; then
    cat <<'HELP'
usage: bash tools/dist_train.sh CONFIG GPUS [arguments of tools/train.py]

GPUS is the number of processes on this machine, one a GPU; without a GPU they share
the CPU. For several machines run it on each, with the same values but for NODE_RANK:
  NNODES (1)  NODE_RANK (0)  MASTER_ADDR (127.0.0.1)  PORT (29500)
PYTHON names the interpreter; default .venv/bin/python of the repository, else python.

examples:
  bash tools/dist_train.sh configs/accel/mocov2_r50_8xb32.py 8
  bash tools/dist_train.sh configs/accel/mocov2_r50_8xb32.py 8 --resume
  NNODES=2 NODE_RANK=0 MASTER_ADDR=10.0.0.1 \
      bash tools/dist_train.sh configs/accel/mocov2_r50_8xb32.py 4
HELP
    [ $# -ge 1 ] && { [ "$1" = --help ] || [ "$1" = -h ]; } && exit 0
    exit 2
fi

CONFIG=$1
GPUS=$2
TOOLS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(dirname "$TOOLS")
if [ -z "${PYTHON:-}" ]; then
    PYTHON=python
    [ -x "$ROOT/.venv/bin/python" ] && PYTHON="$ROOT/.venv/bin/python"
fi

PYTHONPATH="$ROOT${PYTHONPATH:+:$PYTHONPATH}" \
exec "$PYTHON" -m torch.distributed.run \
    --nnodes="${NNODES:-1}" \
    --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-29500}" \
    --nproc_per_node="$GPUS" \
    "$TOOLS/train.py" "$CONFIG" --launcher pytorch "${@:3}"
