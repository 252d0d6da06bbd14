"""The study's report: figures worked out by hand, blocks, pictures, the check."""

import json
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from matplotlib import pyplot as plt
from PIL import Image

from mmaccel.errors import ConfigError
from mmaccel.evaluation.time_accuracy_plot import COLOURS
from research import report as tool
from research.study.plots import (
    _name_points,
    curves_plot,
    epochs_plot,
    frontier_plot,
    mean_curves,
)
from research.study.report import Report
from research.study.speedup import StepCosts
from research.study.summary import Groups
from research.study.tables import (
    entry,
    epochs_table,
    groups_table,
    runs_list,
    stages_table,
)

RESEARCH = Path(__file__).parents[2] / 'research'
PICTURES = ('curves.png', 'epochs.png', 'frontier.png')


def record(group, seed, knn=None, seconds=None, *, epochs=20, **more):
    """A run that ended with some accuracy, halfway there at half its time."""
    evaluate_on = more.pop('evaluate_on', [])
    run = dict(
        group=group, config='c.py', seed=seed, epochs=epochs, options={}, width=64,
        amp=None, evaluate_on=evaluate_on, stages=False,
    )  # fmt: skip
    out = dict(
        key=f'{group}-{seed}-{epochs}',
        name=f'{group}/{seed}',
        status='ok' if knn is not None else 'failed',
        run=run,
        jobs=2,
        device='A CPU',
        versions=dict(mmaccel='1', python='3.11', torch='2.9', torchvision='0.24'),
        seconds_elapsed=1800.0,
    )
    if knn is None:
        out.update(error='train.py ended with 1')
    else:
        half = dict(epoch=epochs // 2, knn=knn / 2, seconds=seconds / 2)
        end = dict(epoch=epochs, knn=knn, seconds=seconds)
        out.update(curve=[half, end], step_ms=50.0, data_ms=1.0, train_py_seconds=99.0)
    return {**out, **more}


# kNN of the baseline: mean 63, std sqrt((9 + 1 + 16) / 2) = 3.606; its time: 110 ± 10.
# kNN of the paper's: 58.5 ± 0.707; its time: 72 ± 2.83, of the baseline's 0.6545.
RECORDS = [
    record('moco/baseline', 0, 60, 100, test=dict(knn=dict(top1=61.0))),
    record('moco/baseline', 1, 62, 110),
    record('moco/baseline', 2, 67, 120),
    record('moco/paper', 0, 58, 70, test=dict(knn=dict(top1=57.26))),
    record('moco/paper', 1, 59, 74),
    record('moco/baseline-100e', 0, 61.24, 550, epochs=100),
    record('moco/baseline-12e', 0, 55, 66, epochs=12),
    record('moco/broken', 0),
    record('simclr/baseline', 0, 50, 200),
    record('simclr/paper', 0, 51, 130),
]
#: A step of the paper's costs 0.6 of the baseline's, operations 0.5.
STEPS = {
    'moco/baseline': 1.0,
    'moco/paper': 0.6,
    'simclr/baseline': 1.0,
    'simclr/paper': 0.65,
}
REPORT = """\
# A study

<!-- [[[cog
labels('''
moco/baseline: MoCo
moco/*: MoCo, {variant}
''')
]]] -->
<!-- [[[end]]] -->

Words before.

<!-- [[[cog
table('epochs, n, knn, seconds', '''
moco/baseline
moco/paper: Accel-MoCo
''')
]]] -->
<!-- [[[end]]] -->

<!-- [[[cog
loss = figure('moco/paper', 'knn-diff', '*/baseline')
print(f'It loses {loss} points in {figure("moco/paper", "seconds")} s.')
]]] -->
<!-- [[[end]]] -->

<!-- [[[cog runs() ]]] -->
<!-- [[[end]]] -->
<!-- [[[cog
pair = 'moco/baseline\\nmoco/paper: Accel-MoCo'
curves('curves.png', pair, alt='MoCo, twice')
epochs('epochs.png', 'moco/baseline', alt='', published={'theirs': [20, 70.5]})
frontier('frontier.png', 'moco/baseline*\\nmoco/paper\\nsimclr/*', alt='',
         reference='*/baseline', line='moco/baseline-*, moco/baseline')
]]] -->
<!-- [[[end]]] -->

Words after."""


@pytest.fixture
def costs(tmp_path):
    """A file with what steps cost."""
    path = tmp_path / 'step_times.json'
    entries = {
        name: dict(width=64, time=dict(median=ratio), operations=ratio / 2)
        for name, ratio in STEPS.items()
    }
    path.write_text(json.dumps(dict(variants=entries)))
    return path


@pytest.fixture
def study(tmp_path, costs):
    """Arguments of the tool for a report that was never filled."""
    report, records = tmp_path / 'report.md', tmp_path / 'records.jsonl'
    report.write_text(REPORT)
    save(records, RECORDS)
    return [
        *('--report', str(report), '--records', str(records), '--costs', str(costs))
    ]


def save(path, records):
    path.write_text(''.join(json.dumps(record) + '\n' for record in records))


def rows(groups, *names):
    return [(group, group.name) for group in groups.select(names)]


def cells(table):
    """Cells of a markdown table, without its heading and what follows it."""
    lines = [line for line in table.splitlines() if line.startswith('|')]
    return [[cell.strip() for cell in line.split('|')[1:-1]] for line in lines[2:]]


def test_means_and_deviations_are_those_worked_out_by_hand(costs):
    groups = Groups(RECORDS, StepCosts(costs))
    table = groups_table(
        groups,
        rows(groups, 'moco/baseline', 'moco/paper', 'moco/baseline-12e'),
        ['epochs', 'n', 'knn', 'seconds', 'ratio', 'knn-diff'],
        'moco/baseline',
    )
    assert table.splitlines()[:2] == [
        '| run | epochs | n | kNN, held-out | training (s) | relative time '
        '| Δ kNN, held-out |',
        '| --- | ---: | ---: | ---: | ---: | ---: | ---: |',
    ]
    assert cells(table) == [
        ['moco/baseline', '20', '3', '63.0 ± 3.6', '110 ± 10', '1.00', '–'],
        ['moco/paper', '20', '2', '58.5 ± 0.7', '72 ± 3', '0.60', '−4.5'],
        ['moco/baseline-12e', '12', '1', '55.0', '66', '0.60', '−8.0'],
    ]


def test_a_figure_of_fewer_runs_says_so():
    groups = Groups(RECORDS)
    table = groups_table(
        groups,
        rows(groups, 'moco/baseline', 'moco/paper', 'moco/baseline-12e'),
        ['test-knn', 'test-knn-diff'],
        'moco/baseline',
    )
    assert cells(table) == [
        ['moco/baseline', '61.0 (n=1)', '–'],
        ['moco/paper', '57.3 (n=1)', '−3.7'],
        ['moco/baseline-12e', '-', '-'],
    ]


def test_the_spread_is_that_after_the_last_stage():
    stages = {'1': dict(neg_sim=0.9, effective_rank=2.0)}
    last = {'10': dict(neg_sim=0.25, effective_rank=8.0)}
    groups = Groups(
        [
            record('moco/wide', 0, 60, 100, spread={**stages, **last}),
            record('moco/flat', 0, 60, 100, spread=stages),
            record('moco/old', 0, 60, 100),
        ]
    )
    table = groups_table(
        groups, rows(groups, 'moco/wide', 'moco/flat', 'moco/old'), ['neg-sim', 'rank']
    )
    assert cells(table) == [
        ['moco/wide', '0.25', '8.0'],
        ['moco/flat', '0.90', '2.0'],
        ['moco/old', '-', '-'],
    ]


def test_seconds_of_resumed_runs_are_missing():
    """The runner writes null, for it knows those of the last life only."""
    groups = Groups(
        [
            record('moco/part', 0, 60, 9, train_py_seconds=None),
            record('moco/part', 1, 60, 9, train_py_seconds=80.0),
            record('moco/all', 0, 60, 9, train_py_seconds=None),
        ]
    )
    both = rows(groups, 'moco/part', 'moco/all')
    assert cells(groups_table(groups, both, ['end-to-end', 'n'])) == [
        ['moco/part', '80 (n=1)', '2'],
        ['moco/all', '-', '1'],
    ]
    with pytest.raises(ConfigError, match='column end-to-end'):
        groups_table(groups, both[1:], ['end-to-end', 'n'])


def test_each_method_has_its_own_baseline(costs):
    groups = Groups(RECORDS, StepCosts(costs))
    table = groups_table(
        groups,
        rows(groups, 'moco/paper', 'simclr/paper'),
        ['ratio', 'knn-diff'],
        '*/baseline',
    )
    assert cells(table) == [
        ['moco/paper', '0.60', '−4.5'],
        ['simclr/paper', '0.65', '+1.0'],
    ]


def test_failed_runs_have_a_row_and_a_note():
    groups = Groups([*RECORDS, record('moco/paper', 2)])
    shown = rows(groups, 'moco/paper', 'moco/broken')
    table = groups_table(groups, shown, ['n', 'knn'])
    assert cells(table) == [
        ['moco/paper', '2', '58.5 ± 0.7'],
        ['moco/broken', '0', '-'],
    ]
    assert table.endswith(
        '\n\n2 failed runs are not counted: moco/paper/2, moco/broken/0.'
    )


def test_missing_groups_are_all_named():
    with pytest.raises(ConfigError, match=r'no group moco/a, swav/\*'):
        Groups(RECORDS).select(['moco/a', 'moco/paper', 'swav/*'])


@pytest.mark.parametrize(
    'columns, reference, message',
    [
        (['n', 'accuracy'], None, 'no column accuracy'),
        (['n', 'test-linear'], None, 'column test-linear'),
        (['ratio'], None, 'ratio needs a reference'),
        (['ratio'], 'moco/none', 'reference moco/none has no finished run'),
        (['knn-diff'], 'moco/broken', 'reference moco/broken has no finished run'),
    ],
)
def test_columns_that_cannot_be_filled(columns, reference, message):
    groups = Groups(RECORDS)
    with pytest.raises(ConfigError, match=message):
        groups_table(groups, rows(groups, 'moco/paper'), columns, reference)


def test_groups_of_a_pattern_come_by_number_and_once():
    names = [g.name for g in Groups(RECORDS).select(['moco/paper', 'moco/[bp]a*'])]
    assert names == [
        'moco/paper', 'moco/baseline', 'moco/baseline-12e', 'moco/baseline-100e'
    ]  # fmt: skip


def test_runs_of_a_group_differ_by_their_seed_alone():
    other = record('moco/paper', 2, 58, 70, epochs=30)
    with pytest.raises(ConfigError, match='moco/paper differ in epochs'):
        Groups([*RECORDS, other])
    twice = dict(record('moco/paper', 1, 58, 70), key='of another config')
    with pytest.raises(ConfigError, match='moco/paper .* seed 1'):
        Groups([*RECORDS, twice])
    judged = record('moco/paper', 2, 58, 70, evaluate_on=['test'])
    assert Groups([*RECORDS, judged]).select(['moco/paper'])[0].n == 3


def test_times_of_different_settings_are_told_apart():
    groups = Groups([*RECORDS, record('moco/gpu', 0, 60, 9, device='A GPU', jobs=4)])
    shown = rows(groups, 'moco/gpu')
    timed = ['seconds', 'knn-diff']
    note = (
        'Times of different settings do not compare: A CPU with 2 at once '
        '(moco/baseline); A GPU with 4 at once (moco/gpu).'
    )
    assert groups_table(groups, shown, timed, 'moco/baseline').endswith(note)
    assert note not in groups_table(groups, shown, ['knn'])
    clock = record('moco/clock', 0, 60, 9)
    clock['run']['options'] = {'default_hooks.throughput.clock': 'cpu'}
    groups = Groups([*RECORDS, clock])
    note = 'A CPU with 2 at once, processor time (moco/clock).'
    shown = rows(groups, 'moco/clock')
    assert groups_table(groups, shown, timed, 'moco/baseline').endswith(note)


def test_stages_of_the_probe():
    first = dict(Feat1=30.0, Feat2=41.0, Final=70.0)
    second = dict(Feat1=32.0, Feat2=41.0, Final=74.0)  # std sqrt(2), 0, sqrt(8)
    groups = Groups(
        [
            record('moco/paper', 0, 60, 9, test=dict(stages=first)),
            record('moco/paper', 1, 60, 9, test=dict(stages=second)),
        ]
    )
    shown = rows(groups, 'moco/paper')
    table = stages_table(shown, 'test')
    assert table.splitlines()[0] == '| run | Feat1 | Feat2 | Final |'
    assert cells(table) == [['moco/paper', '31.0 ± 1.4', '41.0 ± 0.0', '72.0 ± 2.8']]
    linear = groups_table(groups, shown, ['test-linear'])
    assert cells(linear) == [['moco/paper', '72.0 ± 2.8']]
    with pytest.raises(ConfigError, match='moco/paper .* held_out'):
        stages_table(shown, 'held_out')


def test_what_was_run():
    # 9 finished: 100 + 110 + 120 + 70 + 74 + 550 + 66 + 200 + 130 = 1420 s; 10 of 0.5 h
    assert runs_list(Groups(RECORDS).all()).splitlines() == [
        '- 10 runs in 7 groups: 9 finished, 1 failed',
        '- 0.4 hours of training in finished runs; 5.0 hours in all, evaluation and '
        'failures included',
        '- device: A CPU (10 runs)',
        '- versions: mmaccel 1, python 3.11, torch 2.9, torchvision 0.24 (10 runs)',
        '',
        '1 failed run is not counted: moco/broken/0.',
    ]


def test_curves_are_means_over_seeds():
    groups = Groups(RECORDS)
    plot = curves_plot(rows(groups, 'moco/paper'))
    label, n, epoch, seconds, mean, low, high = plot.numbers[1][0]
    assert (label, n, epoch) == ('moco/paper', 2, [10, 20])
    assert (seconds, mean) == ([36, 72], [29.25, 58.5])
    assert (low, high) == ([29, 58], [29.5, 59])
    broken = rows(groups, 'moco/broken')
    with pytest.raises(ConfigError, match='no finished run'):
        curves_plot(broken)
    many = [(groups.select(['moco/paper'])[0], str(i)) for i in range(8)]
    with pytest.raises(ConfigError, match='7 colours'):
        curves_plot(many)


def test_curves_by_epoch_stand_beside_published_ones():
    rows = [(Groups(RECORDS).select(['moco/baseline'])[0], 'ours')]
    published = {'theirs': {10.0: 30.5, 15.0: 40.0}}
    table = epochs_table(mean_curves(rows), published)
    assert table.splitlines()[0] == '| kNN at epoch | 10 | 20 |'
    # means of 30, 31, 33.5 and of 60, 62, 67
    assert table.splitlines()[2:] == ['| theirs | 30.5 | - |', '| ours | 31.5 | 63.0 |']
    plot = epochs_plot(rows, published)
    assert plot.numbers[2] == [['theirs', [10.0, 30.5], [15.0, 40.0]]]
    assert plot.hash != epochs_plot(rows).hash
    with pytest.raises(ConfigError, match='ours'):
        epochs_plot(rows, {'ours': {1.0: 2.0}})
    with pytest.raises(ConfigError, match='3 lines'):
        epochs_plot(rows, {str(i): {1.0: 2.0} for i in range(4)})


def test_families_share_colours_in_both_pictures(tmp_path):
    """Seven methods and their accelerated forms, 14 curves, as few as 7 colours."""
    (group,) = Groups(RECORDS).select(['moco/baseline'])
    rows = [(group, f'{accel}{i}') for i in range(7) for accel in ('', 'Accel-')]
    for plot in (curves_plot(rows), epochs_plot(rows, {'theirs': {10.0: 30.0}})):
        plot.draw(tmp_path / 'a.png')
        pixels = matplotlib.image.imread(tmp_path / 'a.png')[..., :3]
        for colour in COLOURS:
            rgb = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
            assert (np.abs(pixels - np.array(rgb)).max(-1) < 0.02).any(), colour


def test_frontier_is_relative_to_each_reference(costs):
    groups = Groups(RECORDS, StepCosts(costs))
    line = groups.select(['moco/baseline-12e', 'moco/broken', 'moco/baseline'])
    shown = rows(groups, 'moco/b*', 'moco/paper', 'simclr/paper')
    plot = frontier_plot(groups, shown, [line], '*/baseline')
    _, heading, points, joined = plot.numbers
    assert heading == 'kNN, held-out'
    assert joined == [['moco/baseline-12e', 'moco/baseline']]
    at = {p['name']: (p['x'], p['y'], p['std']) for p in points}
    assert 'moco/broken' not in at and len(at) == 5
    assert at['moco/baseline'] == pytest.approx((1, 63, 13**0.5))
    assert at['moco/paper'] == pytest.approx((0.6, 58.5, 0.5**0.5))
    assert at['simclr/paper'] == (0.65, 51, None)
    with pytest.raises(ConfigError, match='test'):
        frontier_plot(groups, shown, [line], '*/baseline', 'test-linear')


def test_labels_of_close_points_do_not_overlap():
    figure, axes = plt.subplots(figsize=(6, 4))
    points = [
        dict(x=i % 4 * 0.02, y=i // 4 * 0.3, label=f'a long label {i}')
        for i in range(16)
    ]
    axes.plot([p['x'] for p in points], [p['y'] for p in points], 'o')
    axes.set(xlim=(-1, 1), ylim=(-1, 2))
    _name_points(figure, axes, points, [np.array([[-1, 1], [-0.5, -0.5]])])
    boxes = [t.get_window_extent() for t in axes.texts if t.get_text()]
    frame = axes.get_window_extent()
    plt.close(figure)
    assert len(boxes) == 16
    for i, one in enumerate(boxes):
        assert frame.x0 <= one.x0 and one.x1 <= frame.x1
        assert not any(one.overlaps(other) for other in boxes[:i])


def write(path, *blocks):
    marked = (f'<!-- [[[cog\n{code}\n]]] -->\n<!-- [[[end]]] -->' for code in blocks)
    path.write_text('\n'.join(marked))
    return path


@pytest.mark.parametrize(
    ('code', 'message'),
    [
        ("table('n', 'moco/gone')", 'line 1: the records have no group moco/gone'),
        ("table('n', '')", 'no group'),
        ("graph('n')", "NameError: .*'graph'"),
        ("table('n'", 'SyntaxError'),
        ("curves('a.jpg', 'moco/paper', '')", 'a.jpg'),
        ("curves('a.png', 'moco/paper', '')\n" * 2, 'a.png'),
        ('x = 1\n]]] -->\n<!-- [[[cog', 'cog'),
    ],
)
def test_blocks_that_cannot_be_filled(tmp_path, code, message):
    with pytest.raises(ConfigError, match=message):
        Report(write(tmp_path / 'report.md', code), RECORDS)


def test_labels_come_from_the_block_then_from_the_report(tmp_path):
    labels = "labels('''\nmoco/*: every {variant}\nmoco/paper: the paper\n''')"
    rows = 'moco/paper\nmoco/base*-*: {epochs} | epochs\nmoco/baseline\nsimclr/paper'
    path = write(tmp_path / 'report.md', labels, f"table('n', '''{rows}''')")
    found = [x.split(' | ')[0] for x in Report(path, RECORDS).filled.splitlines()]
    assert [x for x in found if x[:1] == '|'][2:] == [
        '| the paper',
        '| 12 \\| epochs',
        '| 100 \\| epochs',
        '| every baseline',
        '| simclr/paper',
    ]


def test_a_baseline_of_equal_time_lies_between_those_next_to_it(costs):
    # the paper's 25 epochs at 0.6 are 15 of the baseline's:
    # 50 + log(15 / 12) / log(20 / 12) * (60 - 50) = 54.37
    groups = Groups(
        [
            record('moco/baseline-12e', 0, 50, 66, epochs=12),
            record('moco/baseline-20e', 0, 60, 110),
            record('moco/baseline-large-20e', 0, 90, 70),  # no plain baseline
            record('moco/paper', 0, 58, 70, epochs=25),
            record('moco/paper', 1, 59, 74, epochs=25),
            record('simclr/paper', 0, 60, 111),
        ],
        StepCosts(costs),
    )
    names = ('moco/paper', 'moco/baseline-20e', 'simclr/paper')
    shown = [entry(groups, g, 'equal-time') for g in groups.select(names)]
    assert shown == ['+4.1', '–', '-']


def test_the_report_is_filled_around_its_words(study, tmp_path):
    assert tool.main(study) == 0
    text = (tmp_path / 'report.md').read_text()
    assert '| Accel-MoCo | 20 | 2 | 58.5 ± 0.7 | 72 ± 3 |' in text
    assert '\nIt loses −4.5 points in 72 ± 3 s.\n' in text
    assert '- 10 runs in 7 groups' in text
    assert '![MoCo, twice](curves.png)' in text
    lines = REPORT.splitlines()
    assert [line for line in text.splitlines() if line in lines and line] == [
        line for line in lines if line
    ]
    for name, size in (('curves.png', (920, 640)), ('frontier.png', (1280, 880))):
        with Image.open(tmp_path / name) as image:
            assert image.size == size
            assert 'Software' not in image.info
    pixels = matplotlib.image.imread(tmp_path / 'frontier.png')[..., :3]
    for colour in ((0, 0x72, 0xB2), (0xD5, 0x5E, 0)):  # one colour per method
        near = np.abs(pixels - np.array(colour) / 255).max(-1) < 0.02
        assert near.sum() > 100


def test_twice_gives_the_same(study, tmp_path):
    files = [tmp_path / n for n in ('report.md', *PICTURES)]
    assert tool.main(study) == 0
    first = [file.read_bytes() for file in files]
    assert tool.main(study) == 0
    assert [file.read_bytes() for file in files] == first
    left = {path.name for path in tmp_path.iterdir()}
    given = {'records.jsonl', 'step_times.json'}
    assert left == {*given, *(file.name for file in files)}


def test_check_names_what_is_out_of_date(study, tmp_path, capsys):
    report, check = tmp_path / 'report.md', [*study, '--check']

    def outdated():
        capsys.readouterr()
        code = tool.main(check)
        captured = capsys.readouterr()
        assert (code, 'out of date' in captured.err) in ((0, False), (1, True))
        return captured.out if code else ''

    assert '+- 10 runs in 7 groups' in outdated()
    assert report.read_text() == REPORT
    assert tool.main(study) == 0 and not outdated()

    whole = report.read_text()
    report.write_text(whole.replace('58.5 ± 0.7', '68.5 ± 0.7'))
    assert '-| Accel-MoCo | 20 | 2 | 68.5 ± 0.7 |' in outdated()
    report.write_text(whole.replace('It loses −4.5', 'It loses −3.5'))
    assert '-It loses −3.5' in outdated()
    report.write_text(whole.replace('Words before', 'Other words'))
    assert not outdated()

    (tmp_path / 'curves.png').unlink()
    assert outdated() == 'curves.png shows other numbers\n'
    assert not (tmp_path / 'curves.png').exists()

    # seconds and accuracy of a run that is in both, by less than the table shows
    assert tool.main(study) == 0
    old = (tmp_path / 'frontier.png').read_bytes()
    changed = record('moco/paper', 1, 59.02, 74.4)
    save(tmp_path / 'records.jsonl', [*RECORDS[:4], changed, *RECORDS[5:]])
    found = outdated()
    for name in ('curves.png shows', 'frontier.png shows', '+<!-- numbers'):
        assert name in found
    assert 'Accel-MoCo |' not in found and 'runs' not in found
    assert tool.main(study) == 0
    (tmp_path / 'frontier.png').write_bytes(old)  # a picture of other numbers
    assert outdated() == 'frontier.png shows other numbers\n'


def test_errors_are_one_sentence(study, tmp_path, capsys):
    report, records = tmp_path / 'report.md', tmp_path / 'records.jsonl'
    report.write_text(REPORT.replace('moco/paper: Accel', 'moco/gone: Accel'))
    assert tool.main(study) == 1
    error = capsys.readouterr().err
    assert 'report.md, block in line 13: the records have no group moco/gone' in error
    assert not (tmp_path / 'frontier.png').exists()
    for file, missing in ((records, 'no records'), (report, 'no report')):
        file.unlink()
        assert tool.main(study) == 1
        assert missing in capsys.readouterr().err
        save(records, RECORDS)


def test_numbers_of_the_repository_come_from_its_records(capsys):
    names = '--report report.md --records records.jsonl --costs step_times.json'
    files = [
        name if name.startswith('--') else str(RESEARCH / name)
        for name in [*names.split(), 'operations.json']
    ]
    code = tool.main(['--check', *files])
    captured = capsys.readouterr()
    assert code == 0, captured.out + captured.err
