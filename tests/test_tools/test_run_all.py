"""The chain of benchmarks: what is run, gone on with, left out and reported."""

import subprocess
import sys
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
if [[ "$*" == *is_result_of* ]]; then exec "$REAL" "$@"; fi
echo "$*" >>"$CALLS"
[[ "$*" == *"$FAIL"* ]] && exit 1
record() {
  hash="$(sha256sum <"$CHECKPOINT" | cut -d' ' -f1)"
  cat >"$1" <<JSON
{"task": "linear", "method": "x", "dataset": "x", "frozen": true, "protocol": "",
 "metrics": {"top1": 1}, "n": 1, "checkpoint": "$hash", "prefix": "backbone."}
JSON
}
previous=
for argument in "$@"; do
  [[ "$previous" == --work-dir ]] && folder="$argument"
  previous="$argument"
done
[[ "$*" == *probe.py* ]] && folder="$folder/knn"
[[ -n "${folder:-}" ]] && mkdir -p "$folder" && record "$folder/result.json"
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

    def run(*argv, fail='no call has this', gpus='2'):
        calls = tmp_path / 'calls'
        calls.unlink(missing_ok=True)
        done = subprocess.run(
            ['bash', str(SCRIPT), str(checkpoint), gpus, *argv],
            env=dict(
                PATH='/usr/bin:/bin',
                PYTHON=str(python),
                REAL=sys.executable,
                CALLS=calls,
                FAIL=fail,
                CHECKPOINT=checkpoint,
            ),
            capture_output=True,
            text=True,
            timeout=200,
        )
        made = calls.read_text().splitlines() if calls.exists() else []
        return done, made

    run.folder = checkpoint.parent / 'benchmarks' / 'epoch_1'
    return run


def test_every_step_runs_once_and_then_the_tables(run_all):
    done, calls = run_all('--method', 'Accel-SimCLR', '--seed', '3', '--', '--amp')
    assert done.returncode == 0, done.stderr
    folder = run_all.folder.with_name('epoch_1-seed3')
    assert [path.name for path in sorted(folder.iterdir())] == sorted(STEPS)
    configs = [
        'classification/simclr_r50_linear_in1k.py',
        'probe.py',
        'classification/stages_r50_linear_in1k.py',
        'mmdetection/faster-rcnn_r50-c4_voc07_frozen.py',
        'mmdetection/faster-rcnn_r50-c4_voc07.py',
        'mmsegmentation/pspnet_r50-d8_voc12aug_frozen.py',
        'mmsegmentation/pspnet_r50-d8_voc12aug.py',
        'paper_tables.py',
    ]
    assert len(calls) == len(configs)
    for call, config in zip(calls, configs):
        assert config in call
        if 'train.py' in call:
            assert '--nproc_per_node=2' in call
            assert 'epoch_1.pth --prefix backbone. ' in call
            assert '--resume --auto-scale-lr --seed 3 ' in call
            assert call.endswith('--amp')
            by_iteration = 'mmdet' in config or 'mmseg' in config
            assert ('train_dataloader.batch_size=8' in call) is by_iteration
    assert 'run/mocov2.py' in calls[1]
    # all have results now, of this checkpoint and this seed
    argv = ('--method', 'moco', '--seed', '3')
    done, calls = run_all(*argv)
    assert len(calls) == 1 and 'paper_tables.py' in calls[0]
    assert len(run_all('--method', 'moco', '--seed', '4', '--only', 'linear')[1]) == 2


def test_results_of_other_weights_are_refused_and_none_is_no_result(run_all):
    argv = ('--method', 'moco', '--only', 'linear')
    assert run_all(*argv)[0].returncode == 0
    checkpoint = run_all.folder.parents[1] / 'epoch_1.pth'
    torch.save(dict(state_dict={}, meta=dict(cfg='', seed=1)), checkpoint)
    done, calls = run_all(*argv)
    assert done.returncode == 1 and 'linear' not in ' '.join(calls)
    assert 'a result of other weights' in done.stderr and '--work-dir' in done.stderr

    record = run_all.folder / 'linear/result.json'
    record.write_text('{}')
    done, calls = run_all(*argv)
    assert done.returncode == 0 and 'moco_r50_linear_in1k.py' in calls[0]

    done, calls = run_all(*argv, '--prefix', 'encoder_k.')
    assert f'{run_all.folder}-encoder_k/linear' in calls[0]


def test_every_config_named_exists():
    root = SCRIPT.parents[2]
    for family in ('moco', 'simclr', 'swav', 'stages'):
        name = f'classification/{family}_r50_linear_in1k.py'
        assert (root / 'configs/benchmarks' / name).is_file()
    assert (root / 'tools/benchmarks/classification/probe.py').is_file()
    assert (root / 'tools/analysis_tools/collect_results.py').is_file()
    assert (root / 'research/paper_tables.py').is_file()


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


def test_a_step_without_a_result_is_not_finished(run_all, tmp_path):
    python = tmp_path / 'python'
    python.write_text('#!/usr/bin/env bash\nexit 0\n')
    done, _ = run_all('--only', 'detection')
    assert done.returncode == 1 and 'not finished: detection;' in done.stderr


def test_gpus_that_do_not_divide_the_images_of_an_iteration(run_all):
    done, calls = run_all('--only', 'detection', gpus='3')
    assert done.returncode == 1 and len(calls) == 1
    assert 'GPUS=3 does not divide the 16 images' in done.stderr


def test_the_checkpoint_tells_its_method_from_a_relative_path(tmp_path):
    config = "model = dict(type='AccelSimCLR', neck=dict(projector='NonLinearNeck'))"
    torch.save(dict(state_dict={}, meta=dict(cfg=config)), tmp_path / 'epoch_1.pth')
    argv = ['bash', str(SCRIPT), 'epoch_1.pth', '2', '--only', 'linear', '--dry-run']
    done = subprocess.run(
        argv,
        cwd=tmp_path,
        env=dict(PATH='/usr/bin:/bin', PYTHON=sys.executable),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert 'simclr_r50_linear_in1k.py' in done.stdout
