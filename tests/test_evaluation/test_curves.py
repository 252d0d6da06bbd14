"""Curves read from logs, resumed and averaged."""

import json

import numpy as np
import pytest

from mmaccel.errors import ConfigError
from mmaccel.evaluation.curves import average, read_curve, read_scalars


def write(folder, records, tail=''):
    folder.mkdir(parents=True, exist_ok=True)
    lines = ''.join(json.dumps(record) + '\n' for record in records)
    with open(folder / 'scalars.json', 'a') as file:
        file.write(lines + tail)


def point(step, seconds, value, **more):
    return dict(step=step, train_seconds=seconds, knn_top1=value, **more)


def test_reads_the_metric_and_nothing_else(tmp_path):
    loss = dict(step=10, train_seconds=1.0, loss=6.0)
    write(tmp_path / 'vis_data', [point(0, 0, 10), loss, point(10, 1.5, 40)])
    curve = read_curve(tmp_path)
    assert curve.label == tmp_path.name and curve.n == 1
    assert curve.step.tolist() == [0, 10]
    assert curve.seconds.tolist() == [0, 1.5]
    assert curve.mean.tolist() == curve.min.tolist() == curve.max.tolist() == [10, 40]
    assert read_curve(tmp_path, 'loss', 'mine').mean.tolist() == [6.0]


def test_resumed_in_one_file_the_last_record_of_a_step_wins(tmp_path):
    write(tmp_path / 'vis_data', [point(0, 0, 1), point(10, 1, 2), point(20, 2, 3)])
    write(tmp_path / 'vis_data', [point(10, 5, 7), point(20, 6, 8), point(30, 7, 9)])
    curve = read_curve(tmp_path)
    assert curve.step.tolist() == [0, 10, 20, 30]
    assert curve.seconds.tolist() == [0, 5, 6, 7]
    assert curve.mean.tolist() == [1, 7, 8, 9]


def test_resumed_in_folders_named_by_time(tmp_path):
    """The first life went further than the checkpoint it was resumed from."""
    later = [point(15, 2.5, 5), point(25, 3, 6)]
    write(tmp_path / '20260102_000000' / 'vis_data', later)
    earlier = [point(0, 0, 1), point(10, 1, 2), point(20, 2, 3)]
    write(tmp_path / '20260101_000000' / 'vis_data', earlier)
    curve = read_curve(tmp_path)
    assert curve.step.tolist() == [0, 10, 15, 25]
    assert curve.mean.tolist() == [1, 2, 5, 6]


def test_resumed_with_epochs_of_half_the_iterations(tmp_path):
    earlier = [point(10 * e, e, e, epoch=e) for e in (1, 2, 3)]
    later = [point(5 * e, e + 0.5, -e, epoch=e) for e in (3, 4)]
    write(tmp_path / 'vis_data', earlier + later)
    curve = read_curve(tmp_path)
    assert curve.mean.tolist() == [1, 2, -3, -4]
    assert curve.step.tolist() == [10, 20, 15, 20]


def test_half_a_line_is_passed_over(tmp_path):
    write(tmp_path / 'vis_data', [point(0, 0, 1)], tail='{"step": 10, "knn_t\n')
    write(tmp_path / 'vis_data', [point(10, 1, 2)], tail='{"ste')
    assert len(read_scalars(tmp_path)) == 2


def test_average_over_the_steps_all_runs_have(tmp_path):
    runs = []
    values = [[10, 20, 30], [14, 26, 50]]
    for i, (first, second, third) in enumerate(values):
        points = [point(0, 0, first), point(10, 4 + 2 * i, second)]
        points += [point(20 + 5 * i, 9, third)]  # step 25 is in the second run alone
        write(tmp_path / str(i) / 'vis_data', points)
        runs.append(read_curve(tmp_path / str(i), label='both'))
    mean = average(runs)
    assert mean.label == 'both' and mean.n == 2
    assert mean.step.tolist() == [0, 10]
    assert mean.seconds.tolist() == [0, 5]
    assert mean.mean.tolist() == [12, 23]
    assert mean.min.tolist() == [10, 20] and mean.max.tolist() == [14, 26]
    assert all(np.array_equal(a, b) for a, b in zip(average(runs[:1])[2:], runs[0][2:]))

    write(tmp_path / 'other' / 'vis_data', [point(7, 1, 1)])
    with pytest.raises(ConfigError, match='no step in common'):
        average([*runs, read_curve(tmp_path / 'other', label='both')])


def test_errors_name_what_is_there(tmp_path):
    with pytest.raises(ConfigError, match=r'no vis_data/scalars\.json'):
        read_curve(tmp_path)
    write(tmp_path / 'vis_data', [dict(step=1, loss=2.0)])
    with pytest.raises(ConfigError, match="no scalar 'knn_top1'; it has loss, step"):
        read_curve(tmp_path)
    with pytest.raises(ConfigError, match='no train_seconds: train with'):
        read_curve(tmp_path, 'loss')
