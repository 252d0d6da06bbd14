import json
from types import SimpleNamespace

from mmaccel.engine import CurvesHook


def test_cuts_what_the_killed_run_wrote_behind_its_checkpoint(tmp_path):
    path = tmp_path / 'vis_data' / 'scalars.json'
    path.parent.mkdir()
    lines = [json.dumps(dict(loss=1.0, step=step)) for step in (2, 4, 6, 8)]
    path.write_text('\n'.join(lines) + '\n{"loss": 0.')
    run = SimpleNamespace(work_dir=str(tmp_path), rank=0, iter=6)
    CurvesHook().before_train(run)
    assert path.read_text() == '\n'.join(lines[:3]) + '\n'
    CurvesHook().before_train(run)
    assert path.read_text() == '\n'.join(lines[:3]) + '\n'


def test_leaves_new_runs_and_other_ranks_alone(tmp_path):
    path = tmp_path / 'vis_data' / 'scalars.json'
    path.parent.mkdir()
    path.write_text('{"step": 9}\n')
    for rank, iteration in ((0, 0), (1, 6)):
        run = SimpleNamespace(work_dir=str(tmp_path), rank=rank, iter=iteration)
        CurvesHook().before_train(run)
    assert path.read_text() == '{"step": 9}\n'
