"""The chain of benchmarks: what is run, gone on with, left out and reported."""

import subprocess
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[2] / 'tools/benchmarks/run_all.sh'
STEPS = [
    'linear',
    'knn',
    'stages',
    'detection-frozen',
    'detection',
    'segmentation-frozen',
    'segmentation',
]

# Notes how it is called, and leaves the result that the step would leave.
PYTHON = r"""#!/usr/bin/env bash
echo "$*" >>"$CALLS"
[[ "$*" == *"$FAIL"* ]] && exit 1
previous=
for argument in "$@"; do
  [[ "$previous" == --work-dir ]] && folder="$argument"
  previous="$argument"
done
[[ "$*" == *probe.py* ]] && folder="$folder/knn"
[[ -n "${folder:-}" ]] && mkdir -p "$folder" && echo '{}' >"$folder/result.json"
exit 0
"""


@pytest.fixture
def run_all(tmp_path):
    python = tmp_path / 'python'
    python.write_text(PYTHON)
    python.chmod(0o755)
    checkpoint = tmp_path / 'run' / 'epoch_1.pth'
    checkpoint.parent.mkdir()
    torch.save(dict(state_dict={}, meta=dict(cfg='')), checkpoint)
    (tmp_path / 'run' / 'mocov2.py').touch()

    def run(*argv, fail='no call has this'):
        calls = tmp_path / 'calls'
        calls.unlink(missing_ok=True)
        done = subprocess.run(
            ['bash', str(SCRIPT), str(checkpoint), '2', *argv],
            env=dict(PATH='/usr/bin:/bin', PYTHON=str(python), CALLS=calls, FAIL=fail),
            capture_output=True,
            text=True,
            timeout=60,
        )
        made = calls.read_text().splitlines() if calls.exists() else []
        return done, made

    run.folder = checkpoint.parent / 'benchmarks'
    return run


def test_every_step_runs_once_and_then_the_tables(run_all):
    done, calls = run_all('--method', 'Accel-SimCLR', '--seed', '3', '--', '--amp')
    assert done.returncode == 0, done.stderr
    assert [path.name for path in sorted(run_all.folder.iterdir())] == sorted(STEPS)
    configs = [
        'classification/simclr_r50_linear_in1k.py',
        'probe.py',
        'classification/stages_r50_linear_in1k.py',
        'mmdetection/faster-rcnn_r50-c4_voc07_frozen.py',
        'mmdetection/faster-rcnn_r50-c4_voc07.py',
        'mmsegmentation/pspnet_r50-d8_voc12aug_frozen.py',
        'mmsegmentation/pspnet_r50-d8_voc12aug.py',
        'collect_results.py',
    ]
    assert len(calls) == len(configs)
    for call, config in zip(calls, configs):
        assert config in call
        if 'train.py' in call:
            assert '--nproc_per_node=2' in call
            assert 'epoch_1.pth --prefix backbone. ' in call
            assert '--resume --auto-scale-lr --seed 3 --amp' in call
    assert 'run/mocov2.py' in calls[1]
    # all have results now
    done, calls = run_all('--method', 'moco')
    assert len(calls) == 1 and 'collect_results.py' in calls[0]


def test_every_config_named_exists():
    root = SCRIPT.parents[2]
    for family in ('moco', 'simclr', 'swav', 'stages'):
        name = f'classification/{family}_r50_linear_in1k.py'
        assert (root / 'configs/benchmarks' / name).is_file()
    assert (root / 'tools/benchmarks/classification/probe.py').is_file()
    assert (root / 'tools/analysis_tools/collect_results.py').is_file()


def test_a_failed_step_keeps_no_other_from_running_and_is_tried_again(run_all):
    steps = ('--only', 'detection-frozen,segmentation')
    done, calls = run_all(*steps, fail='voc07_frozen.py')
    assert done.returncode == 1
    assert 'not finished: detection-frozen;' in done.stderr
    assert ['voc07_frozen' in calls[0], 'voc12aug' in calls[1]] == [True, True]
    done, calls = run_all(*steps)
    assert done.returncode == 0, done.stderr
    assert len(calls) == 2 and 'voc07_frozen' in calls[0]


def test_what_cannot_be_told_is_asked_for(run_all, tmp_path):
    done, _ = run_all('--only', 'linear')
    assert done.returncode == 1 and 'give --method' in done.stderr
    (tmp_path / 'run' / 'other.py').touch()
    done, _ = run_all('--only', 'knn')
    assert done.returncode == 1 and 'with --config' in done.stderr
    for argv, text in (
        (('--only', 'segment'), 'there is no step segment'),
        (('--onyl', 'x'), 'unknown option --onyl'),
        (('--seed',), '--seed needs a value'),
    ):
        done, calls = run_all(*argv)
        assert done.returncode == 1 and text in done.stderr and not calls


def test_dry_run_does_nothing(run_all):
    done, calls = run_all('--dry-run', '--only', 'detection', '--prefix', '')
    assert done.returncode == 0 and not calls and not run_all.folder.exists()
    assert "'--prefix' ''" in done.stdout
