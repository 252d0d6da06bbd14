"""The environment script, with an interpreter that only pretends to install."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = (
    'requirements.txt',
    'requirements-dev.txt',
    'constraints.txt',
    'setup.py',
    'pyproject.toml',
)

# Stands for both interpreters: the one that makes the environment, and the one in it.
PYTHON = r"""#!/usr/bin/env bash
echo "$*" >>"$CALLS"
case "$*" in
  *'-m venv --clear '*)
    rm -rf "${@: -1}"
    mkdir -p "${@: -1}/bin"
    cp "$0" "${@: -1}/bin/python"
    touch "${@: -1}/pyvenv.cfg"
    ;;
  *'-m pip install'*)
    if [[ -n "${KILL:-}" && "$*" == *"$KILL"* ]]; then kill -9 $PPID; exit 1; fi
    if [[ -n "${FAIL:-}" && "$*" == *"$FAIL"* ]]; then
      echo 'no such package'
      exit 1
    fi
    ;;
  '-c import cv2')
    if [[ -n "${HEADLESS:-}" ]]; then
      echo "ImportError: libGL.so.1: cannot open shared object file: No such" >&2
      exit 1
    fi
    ;;
  *opencv-python*) echo 5.0.0 ;;
  '-m mmaccel doctor') exit "${DOCTOR:-0}" ;;
  -c*version_info*) exec "$REAL" "$@" ;;
esac
"""


@pytest.fixture
def env(tmp_path):
    """Run tools/env.sh of a small checkout; keeps what the interpreter was told."""
    root = tmp_path / 'checkout'
    (root / 'tools').mkdir(parents=True)
    for name in (*FILES, 'tools/env.sh'):
        shutil.copy(ROOT / name, root / name)
    python = tmp_path / 'python'
    python.write_text(PYTHON)
    python.chmod(0o755)

    def run(command=('bash', 'tools/env.sh'), **variables):
        calls = tmp_path / 'calls'
        calls.unlink(missing_ok=True)
        done = subprocess.run(
            command,
            cwd=root,
            env={
                **os.environ,
                'MMACCEL_VENV': '.venv',
                'PYTHON': str(python),
                'REAL': sys.executable,
                'CALLS': str(calls),
                **variables,
            },
            capture_output=True,
            text=True,
            timeout=60,
        )
        done.calls = calls.read_text().splitlines() if calls.exists() else []
        done.installs = [x for x in done.calls if 'pip install' in x]
        return done

    run.root = root
    return run


def assert_made(done, env):
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(env.root / '.venv/bin/python')
    assert len(done.installs) == 3
    assert done.calls[-1] == '-m mmaccel doctor'


def test_it_installs_torch_first_and_is_reused(env):
    first = env()
    assert_made(first, env)
    assert ' -c constraints.txt torch torchvision' in first.installs[0]
    assert '-r requirements.txt' in first.installs[1]
    assert '-e .[mmselfsup,transfer]' in first.installs[2]

    again = env()
    assert again.returncode == 0
    assert again.stdout == first.stdout
    assert not again.calls


@pytest.mark.parametrize('name', FILES)
def test_a_changed_file_installs_again(env, name):
    env()
    with open(env.root / name, 'a') as file:
        file.write('# changed\n')

    again = env()
    assert_made(again, env)
    assert not [x for x in again.calls if 'venv' in x]  # updated, not made anew
    assert not env().calls


@pytest.mark.parametrize('step', ['torchvision', 'requirements.txt', '-e .'])
def test_an_interrupted_installation_starts_anew(env, step):
    assert env(KILL=step).returncode != 0

    again = env()
    assert_made(again, env)
    assert [x for x in again.calls if 'venv --clear' in x]


def test_an_interrupted_update_does_not_count_as_good(env):
    env()
    (env.root / 'constraints.txt').write_text('# changed\n')
    assert env(KILL='requirements.txt').returncode != 0
    # even if the change is taken back
    shutil.copy(ROOT / 'constraints.txt', env.root)

    assert_made(env(), env)


def test_a_failure_shows_the_end_of_the_log_and_leaves_no_stamp(env):
    failed = env(FAIL='torchvision')

    assert failed.returncode != 0
    assert 'no such package' in failed.stderr
    assert 'install.log' in failed.stderr
    assert_made(env(), env)


def test_an_environment_the_doctor_refuses_is_not_used(env):
    assert env(DOCTOR='1').returncode != 0
    assert_made(env(), env)


def test_without_a_desktop_headless_opencv_is_laid_over(env):
    done = env(HEADLESS='1')

    assert done.returncode == 0, done.stderr
    expected = '--force-reinstall --no-deps opencv-python-headless==5.0.0'
    assert done.installs[-1].endswith(expected)


def test_sourcing_it_sets_the_interpreter_and_spares_the_shell(env):
    done = env(
        ['bash', '-c', 'source tools/env.sh; echo "$MMACCEL_PYTHON $(which python) $-"']
    )

    assert done.returncode == 0, done.stderr
    venv_python = str(env.root / '.venv/bin/python')
    interpreter, first_on_path, options = done.stdout.split()
    assert interpreter == first_on_path == venv_python
    assert 'e' not in options and 'u' not in options

    shutil.rmtree(env.root / '.venv')
    failed = env(
        ['bash', '-c', 'source tools/env.sh || echo "still here"'], PYTHON='/nowhere'
    )
    assert failed.stdout.strip() == 'still here'
    assert 'PYTHON=/nowhere is not Python' in failed.stderr


def test_a_foreign_folder_is_left_alone(env):
    (env.root / '.venv').mkdir()
    (env.root / '.venv/thesis.tex').touch()

    done = env()
    assert done.returncode != 0
    assert 'MMACCEL_VENV' in done.stderr
    assert (env.root / '.venv/thesis.tex').exists()


def test_an_unfit_interpreter_is_refused(env, tmp_path):
    old = tmp_path / 'python3.6'
    old.write_text('#!/usr/bin/env bash\nexit 1\n')
    old.chmod(0o755)

    done = env(PYTHON=str(old))
    assert done.returncode != 0
    assert 'is not Python 3.10, 3.11 or 3.12' in done.stderr


def test_the_active_interpreter_is_checked(env):
    done = env(MMACCEL_VENV='none', PYTHON=sys.executable)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == sys.executable

    with open(env.root / 'requirements.txt', 'a') as file:
        file.write('no-such-package>=1\n')
    done = env(MMACCEL_VENV='none', PYTHON=sys.executable)
    assert done.returncode != 0
    assert 'lacks: no-such-package' in done.stderr
    assert '-m pip install -c constraints.txt' in done.stderr


@pytest.mark.parametrize('script', ['env', 'test', 'lint'])
def test_help_has_examples_and_installs_nothing(env, script):
    command = ['bash', str(ROOT / f'tools/{script}.sh'), '--help']
    done = env(command)

    assert done.returncode == 0
    assert 'Examples:' in done.stdout
    assert not done.calls


def test_lint_fails_if_any_check_fails(tmp_path):
    for folder in ('tools', 'research', 'mmaccel'):  # those that mypy looks into
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f'{folder}_script.py').write_text('"""Good."""\n')
    for name in (*FILES, 'tools/env.sh', 'tools/lint.sh'):
        shutil.copy(ROOT / name, tmp_path / name)
    module = tmp_path / 'mmaccel/module.py'
    variables = {**os.environ, 'MMACCEL_VENV': 'none', 'PYTHON': sys.executable}

    for content, failure in (
        ('"""Good."""\n', ''),
        ('"""Bad format."""\nx  = 1\n', 'lint failed: ruff format ('),
        ('"""Bad lint."""\n\nimport os\n', 'lint failed: ruff check ('),
        ('"""Bad types."""\n\nx: int = \'one\'\n', 'lint failed: mypy ('),
    ):
        module.write_text(content)
        done = subprocess.run(
            ['bash', 'tools/lint.sh'],
            cwd=tmp_path,
            env=variables,
            capture_output=True,
            text=True,
        )
        assert (done.returncode != 0) is bool(failure), done.stdout + done.stderr
        assert failure in done.stderr
