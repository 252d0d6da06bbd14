#!/usr/bin/env bash
# Check formatting, lint and types.
set -euo pipefail

fix=false
case "${1:-}" in
  '') ;;
  --fix) fix=true ;;
  -h | --help)
    cat <<'HELP'
Check formatting (ruff), lint (ruff) and types (mypy); fails if any of them does.
The environment is made first if needed, see `bash tools/env.sh --help`.

Examples:
  bash tools/lint.sh
  bash tools/lint.sh --fix    # format, and fix what ruff can fix, then check
HELP
    exit 0
    ;;
  *)
    echo "error: unknown argument: $1 (see --help)" >&2
    exit 1
    ;;
esac

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
# shellcheck source=tools/env.sh
source "$ROOT/tools/env.sh"
cd "$ROOT"

if $fix; then
  "$MMACCEL_PYTHON" -m ruff check --fix-only --quiet .
  "$MMACCEL_PYTHON" -m ruff format --quiet .
fi

failed=()
"$MMACCEL_PYTHON" -m ruff format --check --quiet . || failed+=('ruff format')
"$MMACCEL_PYTHON" -m ruff check --quiet . || failed+=('ruff check')
"$MMACCEL_PYTHON" -m mypy --no-error-summary || failed+=('mypy')

if ((${#failed[@]})); then
  echo "lint failed: ${failed[*]} (bash tools/lint.sh --fix repairs formatting)" >&2
  exit 1
fi
echo 'lint passed: format, ruff, mypy'
