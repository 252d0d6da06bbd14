# Sourced by the scripts that start processes: their help, interpreter and launchers.
set -euo pipefail

TOOLS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(dirname "$TOOLS")

# explain LEAST "$@": the script's `usage` where it is asked for, or LEAST arguments lack
explain() {
  case "${2:-}" in -h | --help) usage; exit 0 ;; esac
  if (($# <= $1)); then usage; exit 2; fi
}

if [[ -z "${PYTHON:-}" ]]; then
  PYTHON=python
  [[ -x "$ROOT/.venv/bin/python" ]] && PYTHON="$ROOT/.venv/bin/python"
fi
export PYTHON PYTHONPATH="$ROOT${PYTHONPATH:+:$PYTHONPATH}"

# processes NAME VALUE: refuse what is no number from 1
processes() {
  [[ "$2" =~ ^[1-9][0-9]*$ ]] \
    || { echo "error: $1 is '$2', which is no number of processes from 1" >&2; exit 2; }
}

# torchrun GPUS SCRIPT [arguments]
torchrun() {
  processes GPUS "$1"
  exec "$PYTHON" -m torch.distributed.run \
    --nnodes="${NNODES:-1}" \
    --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-29500}" \
    --nproc_per_node="$1" \
    "$TOOLS/$2" "${@:3}"
}

VARIABLES="\
GPUS is the number of processes on this machine, one per GPU; without a GPU they share
the CPU. For several machines run it on each, with the same values but for NODE_RANK:
  NNODES (1)  NODE_RANK (0)  MASTER_ADDR (127.0.0.1)  PORT (29500)
PYTHON names the interpreter; default .venv/bin/python of the repository, else python."
