import json
from types import SimpleNamespace

import pytest

from mmaccel.engine import CurvesHook


def runner(folder, iteration, rank=0, **info):
    return SimpleNamespace(
        work_dir=str(folder),
        rank=rank,
        iter=iteration,
        message_hub=SimpleNamespace(get_info=info.get),
    )


def test_cuts_what_the_killed_run_wrote_behind_its_checkpoint(tmp_path):
    path = tmp_path / 'vis_data' / 'scalars.json'
    path.parent.mkdir()
    lines = [json.dumps(dict(loss=1.0, step=step)) for step in (2, 4, 6, 8)]
    path.write_text('\n'.join(lines) + '\n{"loss": 0.')
    run = runner(tmp_path, iteration=6)
    CurvesHook().before_train(run)
    assert path.read_text() == '\n'.join(lines[:3]) + '\n'
    CurvesHook().before_train(run)
    assert path.read_text() == '\n'.join(lines[:3]) + '\n'


@pytest.mark.parametrize('iteration', [3, 6, 12])
def test_history_is_kept_where_an_epoch_has_another_length_now(tmp_path, iteration):
    path = tmp_path / 'vis_data' / 'scalars.json'
    path.parent.mkdir()
    lines = [
        json.dumps(dict(loss=1.0, train_seconds=step / 4, step=step))
        for step in (2, 4, 6, 8)
    ]
    path.write_text('\n'.join(lines) + '\n')
    CurvesHook().before_train(runner(tmp_path, iteration, train_seconds=1.5))
    assert path.read_text() == '\n'.join(lines[:3]) + '\n'


def test_leaves_the_file_to_the_first_rank(tmp_path):
    path = tmp_path / 'vis_data' / 'scalars.json'
    path.parent.mkdir()
    path.write_text('{"step": 9}\n')
    CurvesHook().before_train(runner(tmp_path, 6, rank=1))
    assert path.read_text() == '{"step": 9}\n'


def test_a_new_run_puts_the_lines_of_a_dead_one_aside(tmp_path):
    path = tmp_path / 'vis_data' / 'scalars.json'
    path.parent.mkdir()
    for number in (1, 2):
        path.write_text(f'{{"step": {number}}}\n')
        CurvesHook().before_train(runner(tmp_path, 0))
        assert not path.exists()
        aside = path.with_name(f'scalars_{number}.json.old')
        assert aside.read_text() == f'{{"step": {number}}}\n'
