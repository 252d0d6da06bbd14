"""Records: lines are added, the latest of a run counts, half a line harms none."""

import json
from concurrent.futures import ThreadPoolExecutor

from research.study.records import add_record, change_keys, read_runs

FAILED = dict(key='a', status='failed', error='two\nlines')


def ok(key, **values):
    return dict(key=key, status='ok', **values)


def test_lines_are_only_added_and_the_latest_counts(tmp_path):
    path = tmp_path / 'new' / 'records.jsonl'
    records = [FAILED, ok('b', curve=[dict(epoch=0, knn=9.5)]), ok('a', knn=1.25)]
    before = b''
    for record in records:
        add_record(path, record)
        after = path.read_bytes()
        assert after.startswith(before) and after.endswith(b'}\n')
        before = after
    assert [json.loads(line) for line in before.splitlines()] == records
    assert read_runs(path) == [records[2], records[1]]


def test_a_later_file_replaces_an_earlier_one_and_a_missing_one_holds_none(tmp_path):
    for name, records in dict(one=[ok('a', n=1), ok('b')], two=[ok('b', n=3)]).items():
        for record in records:
            add_record(tmp_path / name, record)
    both = read_runs(tmp_path / 'one', tmp_path / 'none', tmp_path / 'two')
    assert both == [ok('a', n=1), ok('b', n=3)]


def test_a_failure_to_evaluate_further_does_not_undo_a_run(tmp_path):
    path = tmp_path / 'records.jsonl'
    for record, latest in ((ok('a', n=1), 1), (FAILED, 1), (ok('a', n=2), 2)):
        add_record(path, record)
        assert read_runs(path) == [ok('a', n=latest)]


def test_half_a_line_costs_no_other_record(tmp_path):
    path = tmp_path / 'records.jsonl'
    whole, half = '{"key": "a", "n": 1, "status": "ok"}\n', '{"key": "b", "cur'
    path.write_text(whole + half)
    assert read_runs(path) == [ok('a', n=1)]
    add_record(path, ok('c', n=3))
    assert path.read_text().startswith(whole + half + '\n')
    assert read_runs(path) == [ok('a', n=1), ok('c', n=3)]


def test_threads_write_whole_lines(tmp_path):
    path = tmp_path / 'records.jsonl'
    text = 'x' * 5000
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: add_record(path, ok(i, text=text)), range(40)))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert sorted(line['key'] for line in lines) == list(range(40))
    assert {line['text'] for line in lines} == {text}


def test_records_of_some_names_get_other_keys(tmp_path):
    path = tmp_path / 'records.jsonl'
    for key, name in (('a', 'x/0'), ('b', 'x/1'), ('c', 'x/2')):
        add_record(path, ok(key, name=name))
    assert change_keys(path, {'x/0': 'new', 'x/2': 'c', 'y/0': 'd'}) == 1
    assert [r['key'] for r in read_runs(path)] == ['new', 'b', 'c']
