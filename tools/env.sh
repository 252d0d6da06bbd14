#!/usr/bin/env bash
# Make, or reuse, the Python environment that every other script runs in.

usage() {
  cat <<'HELP'
Make the Python environment for mmaccel, or reuse the one that is there.

  bash tools/env.sh            make it if needed; the last line is its interpreter
  source tools/env.sh          the same, then put it first on PATH (MMACCEL_PYTHON)

Environment variables:
  MMACCEL_VENV   where it is: a path, relative to the repository (default .venv), or
                 `none` to check and use the interpreter that is active now
  MMACCEL_HOSTS  mmselfsup (default), mmpretrain, or mmselfsup,mmpretrain; another
                 than the default has an environment of its own, .venv-<hosts>
  PYTHON         interpreter to make it with (default: the first of python3.11,
                 python3.12, python3.10, python3 that fits)

Examples:
  bash tools/env.sh
  MMACCEL_HOSTS=mmpretrain bash tools/env.sh
  PYTHON=/usr/bin/python3.12 MMACCEL_VENV=~/envs/mmaccel bash tools/env.sh
  conda activate my-env && MMACCEL_VENV=none bash tools/test.sh

It installs requirements.txt and requirements-dev.txt at the versions of
constraints.txt, a few gigabytes with torch, and does so again when one of these files
has changed. An interrupted installation starts anew the next time.
HELP
}

# Sourced: do the work in a process of its own, so that no failure ends the caller's
# shell and none of its options change.
if [[ "${BASH_SOURCE[0]}" != "$0" ]]; then
  MMACCEL_PYTHON="$(bash "${BASH_SOURCE[0]}" | tail -n 1; exit "${PIPESTATUS[0]}")" \
    || return 1
  export MMACCEL_PYTHON
  PATH="$(dirname "$MMACCEL_PYTHON"):$PATH"
  return 0
fi

set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$ROOT"
export PIP_DISABLE_PIP_VERSION_CHECK=1
HOSTS="${MMACCEL_HOSTS:-mmselfsup}"

say() { echo "[env] $*" >&2; }
die() { echo "[env] error: $*" >&2; exit 1; }

# The files that decide what is installed, the package itself included.
fingerprint() {
  echo "$ROOT $HOSTS" | cat - requirements.txt requirements-dev.txt constraints.txt setup.py \
    pyproject.toml | cksum
}

fits() {
  "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' \
    2>/dev/null
}

find_python() {
  if [[ -n "${PYTHON:-}" ]]; then
    fits "$PYTHON" || die "PYTHON=$PYTHON is not Python 3.10, 3.11 or 3.12"
    command -v "$PYTHON"
    return
  fi
  local name
  for name in python3.11 python3.12 python3.10 python3; do
    if command -v "$name" >/dev/null && fits "$name"; then
      command -v "$name"
      return
    fi
  done
  die "no Python 3.10, 3.11 or 3.12 found; install one (Debian, Ubuntu: apt install" \
    "python3.11 python3.11-venv) or name it: PYTHON=/path/to/python bash tools/env.sh"
}

# The active interpreter, if it has what requirements.txt asks for by name.
use_active() {
  local python missing
  python="$(command -v "${PYTHON:-python}" || command -v python3)" \
    || die "MMACCEL_VENV=none, but no python is on PATH"
  missing="$("$python" - "$HOSTS" requirements.txt requirements-dev.txt <<'PY'
import re, sys
from importlib.metadata import PackageNotFoundError, version

def installed(name):
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return name == 'mmcv-lite' and installed('mmcv') or (
            name == 'mmpretrain' and installed('onedl-mmpretrain'))

names = [re.match(r'[\w.-]+', x) for f in sys.argv[2:] for x in open(f)]
names = sys.argv[1].split(',') + [m.group() for m in names if m]
print(' '.join(name for name in names if not installed(name)))
PY
)"
  [[ -z "$missing" ]] || die "MMACCEL_VENV=none, but $python lacks: $missing. Run:" \
    "$python -m pip install -c constraints.txt -r requirements.txt -r requirements-dev.txt -e '.[$HOSTS]'"
  echo "$python"
}

# Run quietly, with all output in the log; on failure show its end.
step() {
  local what="$1"
  shift
  say "$what"
  if ! "$@" >>"$LOG" 2>&1; then
    tail -n 20 "$LOG" >&2
    die "failed: $what; all output is in $LOG. Run the same command to try again."
  fi
}

# mmengine requires opencv-python, whose GUI needs libGL, X11 and glib from the system;
# servers and containers have none of these. The headless build of the same version is
# then laid over it: both own the same files, and mmengine's requirement stays met.
use_headless_opencv() {
  local error version
  error="$("$VENV/bin/python" -c 'import cv2' 2>&1 | tail -n 1)" || true
  [[ "$error" == *"cannot open shared object file"* ]] || return 0
  version="$("$VENV/bin/python" -c \
    'from importlib.metadata import version; print(version("opencv-python"))')"
  say "opencv-python cannot run here (${error#*: })"
  step "installing opencv-python-headless $version over it" \
    "$VENV/bin/python" -m pip install --force-reinstall --no-deps \
    "opencv-python-headless==$version"
}

make_environment() {
  local python stamp="$VENV/.mmaccel-stamp" busy="$VENV/.mmaccel-installing"

  if [[ -e "$VENV" && ! -e "$VENV/pyvenv.cfg" ]] && [[ -n "$(ls -A "$VENV")" ]]; then
    die "$VENV is there and is no virtual environment; set MMACCEL_VENV to another path"
  fi
  # `created` in the marker: an installation into an environment of ours was cut off
  if [[ "$(cat "$busy" 2>/dev/null)" == created ]] ||
    ! "$VENV/bin/python" -m pip --version >/dev/null 2>&1; then
    python="$(find_python)"
    "$python" -c 'import ensurepip, venv' 2>/dev/null || die "$python cannot make" \
      "virtual environments; Debian and Ubuntu: apt install python3-venv (or" \
      "$(basename "$("$python" -c 'import sys; print(f"python{sys.version_info[0]}.{sys.version_info[1]}")')")-venv)"
    say "making $VENV with $("$python" --version)"
    "$python" -m venv --clear "$VENV"
    echo created >"$busy"
  else
    say "updating $VENV"
    [[ -e "$busy" ]] || echo updated >"$busy"
  fi
  rm -f "$stamp"

  LOG="$VENV/install.log"
  : >"$LOG"
  local pip=("$VENV/bin/python" -m pip install -c constraints.txt)
  step 'installing torch and torchvision (gigabytes; some minutes)' \
    "${pip[@]}" torch torchvision setuptools
  step 'installing the other requirements' \
    "${pip[@]}" -r requirements.txt -r requirements-dev.txt
  step 'installing mmaccel, editable, with detection and segmentation' \
    "${pip[@]}" --no-build-isolation -e ".[$HOSTS,transfer]"
  use_headless_opencv
  step 'checking it' "$VENV/bin/python" -m mmaccel doctor

  fingerprint >"$stamp.new"
  mv "$stamp.new" "$stamp"
  rm -f "$busy"
  say "ready after $SECONDS s"
}

main() {
  case "${1:-}" in
    '') ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; die "unknown argument: $1" ;;
  esac
  if [[ "${MMACCEL_VENV:-}" == none ]]; then
    use_active
    return
  fi
  case "$HOSTS" in
    mmselfsup | mmpretrain | mmselfsup,mmpretrain) ;;
    *) die "MMACCEL_HOSTS=$HOSTS is not mmselfsup, mmpretrain or mmselfsup,mmpretrain" ;;
  esac
  VENV=".venv-${HOSTS/,/-}"
  [[ "$HOSTS" != mmselfsup ]] || VENV=.venv
  VENV="${MMACCEL_VENV:-$VENV}"
  [[ "$VENV" == /* ]] || VENV="$ROOT/$VENV"
  if [[ "$(cat "$VENV/.mmaccel-stamp" 2>/dev/null)" != "$(fingerprint)" ]]; then
    # two scripts started together: the second waits, and finds it made
    if command -v flock >/dev/null; then
      exec 9>"${TMPDIR:-/tmp}/mmaccel-env-$(id -u)-$(echo "$VENV" | cksum | cut -d' ' -f1)"
      flock 9
    fi
    if [[ "$(cat "$VENV/.mmaccel-stamp" 2>/dev/null)" != "$(fingerprint)" ]]; then
      make_environment
    fi
  fi
  echo "$VENV/bin/python"
}

main "$@"
