#!/usr/bin/env bash
# Run the whole test suite, in an environment made for it if there is none.
set -euo pipefail

if [[ "${1:-}" == -h || "${1:-}" == --help ]]; then
  cat <<'HELP'
Run the test suite; arguments go to pytest. The environment is made first if needed,
see `bash tools/env.sh --help`.

Examples:
  bash tools/test.sh
  bash tools/test.sh tests/test_compat -k sinkhorn
  MMACCEL_VENV=none bash tools/test.sh -x     # with the Python that is active
HELP
  exit 0
fi

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
# shellcheck source=tools/env.sh
source "$ROOT/tools/env.sh"
cd "$ROOT"

# Tests start several processes at once; more threads than cores slow all of them.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
# A file stays in one process: its fixtures train networks.
exec "$MMACCEL_PYTHON" -m pytest --timeout=600 \
  --numprocesses=auto --maxprocesses=4 --dist=loadfile "$@"
