"""Records: lines are added, the latest of a run counts, half a line harms none."""

import json
from concurrent.futures import ThreadPoolExecutor

from mmaccel.study.records import add_record, read_records


def ok(key, **values):
    return dict(key=key, status='ok', **values)


def test_lines_are_only_added_and_the_latest_counts(tmp_path):
    path = tmp_path / 'new' / 'records.jsonl'
    records = [
        dict(key='a', status='failed', error='two\nlines'),
        dict(key='b', status='ok', curve=[dict(epoch=0, knn=9.5)]),
        dict(key='a', status='ok', knn=1.25),
    ]
    before = b''
    for record in records:
        add_record(path, record)
        after = path.read_bytes()
        assert after.startswith(before) and after.endswith(b'}\n')
        before = after
    assert [json.loads(line) for line in before.splitlines()] == records
    assert read_records(path) == [records[2], records[1]]


def test_a_later_file_replaces_an_earlier_one_and_a_missing_one_holds_none(tmp_path):
    one, other = tmp_path / 'one', tmp_path / 'other'
    one.write_text(
        '{"key": "a", "n": 1, "status": "ok"}\n{"key": "b", "n": 2, "status": "ok"}\n'
    )
    other.write_text('{"key": "b", "n": 3, "status": "ok"}\n')
    both = read_records(one, tmp_path / 'none', other)
    assert both == [ok('a', n=1), ok('b', n=3)]
    assert read_records(tmp_path / 'none') == []


def test_a_failure_to_judge_further_does_not_undo_a_run(tmp_path):
    path = tmp_path / 'records.jsonl'
    failed = dict(key='a', status='failed', error='the disk was full')
    add_record(path, failed)
    add_record(path, ok('a', n=1))
    add_record(path, failed)
    assert read_records(path) == [ok('a', n=1)]
    add_record(path, ok('a', n=2))
    assert read_records(path) == [ok('a', n=2)]


def test_half_a_line_costs_no_other_record(tmp_path):
    path = tmp_path / 'records.jsonl'
    whole, half = '{"key": "a", "n": 1, "status": "ok"}\n', '{"key": "b", "cur'
    path.write_text(whole + half)
    assert read_records(path) == [ok('a', n=1)]
    add_record(path, ok('c', n=3))
    add_record(path, ok('b', n=2))
    assert path.read_text().startswith(whole + half + '\n')
    assert read_records(path) == [
        ok('a', n=1),
        ok('c', n=3),
        ok('b', n=2),
    ]


def test_threads_write_whole_lines(tmp_path):
    path = tmp_path / 'records.jsonl'
    text = 'x' * 5000
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: add_record(path, ok(i, text=text)), range(40)))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert sorted(line['key'] for line in lines) == list(range(40))
    assert {line['text'] for line in lines} == {text}
