"""Speed-up at equal accuracy, and what steps cost, in operations and time."""

import json
from pathlib import Path

import pytest

from mmaccel.errors import ConfigError
from research import step_times as tool
from research.study import step_costs
from research.study.grid import read_variants
from research.study.speedup import StepCosts, epochs_needed, speedup
from research.study.summary import Groups
from research.study.tables import entry, groups_table

from .test_report import cells, record, rows

RESEARCH = Path(__file__).parents[2] / 'research'
GRIDS = ('cpu.py', 'equal.py')
LINE = {16: 60.0, 4: 40.0}


@pytest.mark.parametrize(
    ('accuracy', 'epochs'),
    [
        (40, 4),
        (45, 4 * 2**0.5),  # a quarter of the way from 4 to 16: 4 * (16 / 4) ** (1 / 4)
        (50, 8),  # half of it: the square root of 4 * 16
        (60, 16),
        (39.9, None),
        (60.1, None),
    ],
)
def test_epochs_lie_between_baselines_in_their_logarithm(accuracy, epochs):
    assert epochs_needed(accuracy, LINE) == (epochs and pytest.approx(epochs))


def test_the_shortest_baseline_that_is_good_enough_counts():
    # from 40 at 4 epochs to 50 at 8, 45 is reached at 4 * 2 ** (1 / 2); again at 16
    dented = {4: 40.0, 8: 50.0, 16: 45.0, 32: 60.0}
    assert epochs_needed(45, dented) == pytest.approx(4 * 2**0.5)
    assert epochs_needed(50, {4: 50.0, 8: 50.0}) == 4
    assert epochs_needed(50, {4: 50.0}) is None


def test_speedup_is_time_of_the_baseline_over_time_of_the_run():
    # 8 epochs of the baseline, against 10 of half their cost
    assert speedup(50, 10, 0.5, LINE) == pytest.approx(1.6)
    assert speedup(39, 10, 0.5, LINE) is None


@pytest.fixture
def costs(tmp_path):
    """Operations of two variants, one of which is timed, too."""

    def write(name, **variants):
        entries = {f'moco/{k}': dict(width=64, **v) for k, v in variants.items()}
        (tmp_path / name).write_text(json.dumps(dict(variants=entries)))
        return tmp_path / name

    times = write('times', timed=dict(operations=0.4, time=dict(median=0.5)))
    counted = write('ops', timed=dict(operations=0.4), cut=dict(operations=0.5))
    return StepCosts(times, counted, tmp_path / 'none')


def probed(knn, linear=None):
    return dict(knn=dict(top1=knn), linear=dict(top1=linear))


def test_speedups_of_seeds_in_a_table(costs):
    groups = Groups(
        [
            record('moco/baseline-4e', 0, 40, 1, epochs=4),
            record('moco/baseline-8e', 0, 49, 1, epochs=8, test=probed(50, 60)),
            record('moco/baseline-16e', 0, 58, 1, epochs=16, test=probed(58, 70)),
            record('moco/baseline-16e', 1, 62, 1, epochs=16, test=probed(62, 70)),
            record('moco/baseline-large-8e', 0, 99, 1, epochs=8),  # no plain baseline
            record('moco/cut-10e', 0, 50, 1, epochs=10, test=probed(50, 65)),
            record('moco/cut-10e', 1, 50, 1, epochs=10, test=probed(55, 65)),
            record('moco/timed-10e', 0, 40, 1, epochs=10, test=probed(49, 59)),
            record('moco/timed-4e', 0, 39, 1, epochs=4),
            record('moco/other-4e', 0, 50, 1, epochs=4),
        ],
        costs,
    )
    shown = rows(groups, 'moco/*10e', 'moco/timed-4e', 'moco/other-4e', 'moco/base*-8e')
    columns = ['speedup-knn', 'speedup-linear', 'step', 'by']
    table = groups_table(groups, shown, columns)
    # cut: on the test split 50 takes 8 epochs and 55 half the way, sqrt(8 * 16) =
    # 11.314, each over 10 * 0.5 = 5: 1.6 and 2.263, mean 1.931, std 0.663 / sqrt(2);
    # linear 65 takes 11.314, too. timed: worse than the test split's line, 4 epochs
    # on held-out images, over 10 * 0.5.
    assert cells(table) == [
        ['moco/cut-10e', '1.93 ± 0.47', '2.26 ± 0.00', '0.50', 'operations'],
        ['moco/timed-10e', '0.80ʰ', '—', '0.50', 'time (operations 0.40)'],
        ['moco/timed-4e', '—', '-', '0.50', 'time (operations 0.40)'],
        ['moco/other-4e', '—', '—', '—', '—'],
        ['moco/baseline-8e', '1.00', '1.00', '1.00', '–'],
        ['moco/baseline-large-8e', '—', '—', '—', '—'],
    ]
    unknown = (
        'the cost of its step is not known (moco/other-4e; moco/baseline-large-8e)'
    )
    assert table.splitlines()[-3:] == [
        '— No speed-up: knn, a run is worse than the baseline of 4 epochs '
        f'(moco/timed-4e); knn, {unknown}; linear, a run is worse than the baseline of '
        f'8 epochs (moco/timed-10e); linear, {unknown}.',
        '',
        'ʰ On held-out images: the run, or baselines below and above it, were not '
        'evaluated on the test split.',
    ]


def test_runs_of_other_sizes_and_precisions_are_not_compared(costs):
    def of(group, amp=None, width=64, batch=None, epochs=4):
        out = record(group, 0, 40 + epochs, 1, epochs=epochs)
        out['run'].update(amp=amp, width=width)
        out['run']['options'] = {'train_dataloader.batch_size': batch}
        return out

    base = [of(f'moco/baseline-{n}e', epochs=n) for n in (4, 8)]
    for changes in (dict(amp='bf16'), dict(width=16), dict(batch=32)):
        groups = Groups([*base, of('moco/cut-6e', epochs=6, **changes)], costs)
        (other,) = groups.select(['moco/cut-6e'])
        assert entry(groups, other, 'speedup-knn') == '—'
        with pytest.raises(ConfigError, match='do not compare'):
            groups.reference('*/baseline-4e', other)
    assert costs.of('moco/cut', 16) is None


@pytest.fixture
def variants(tmp_path):
    """A plain baseline and frozen stages of it, with eight small images per step."""
    path = tmp_path / 'grid.py'
    path.write_text(
        f"_base_ = '{RESEARCH / 'grids/cpu.py'}'\n"
        "common = dict(options={'train_dataloader.batch_size': 8})\n"
        "runs = [dict(methods=['simclr'], variants=['freeze', 'pb'], epochs=[4])]\n"
    )
    return str(path)


def test_operations_of_frozen_stages_are_those_worked_out_by_hand(variants, tmp_path):
    out = tmp_path / 'operations.json'
    assert tool.main([variants, '--operations', '--out', str(out)]) == 0
    found = json.loads(out.read_text())['variants']['simclr/freeze']
    assert found['shares'] == {'4': 0.5, '2-4': 0.25, '3-4': 0.25}
    base, macs = found['baseline_macs'], found['macs']
    assert macs['4'] == base  # nothing is left out
    # two views of 24 x 24; a 3 x 3 convolution of 16 channels has 1,327,104 MACs.
    # Left out of the backward pass: the stem's gradient of weights, 3 * 16 * 9 * 576;
    # both gradients of stage 1's four convolutions; that of the input of stage 2's
    # first and of its shortcut, 16 * 32 * (9 + 1) * 144
    left_out = 3 * 16 * 9 * 576 + 2 * 4 * 16 * 16 * 9 * 576 + 16 * 32 * 10 * 144
    assert base - macs['2-4'] == 2 * left_out
    expected = macs['4'] / 2 + macs['2-4'] / 4 + macs['3-4'] / 4
    assert found['operations'] == pytest.approx(expected / base, abs=1e-4)
    assert StepCosts(out).of('simclr/freeze', 16).by == 'operations'


def test_times_are_interleaved_weighted_and_taken_once(variants, tmp_path, monkeypatch):
    timed = []

    def time_steps(steps, rounds, warmup):
        timed.append([step.name for step in steps])
        fake = {'baseline': [10, 20], '4': [10, 20], '2-4': [8, 8], '3-4': [4, 8]}
        return {name: fake.get(name, [1, 2]) for name in timed[-1]}

    monkeypatch.setattr(step_costs, 'time_steps', time_steps)
    out = tmp_path / 'times.json'
    command = [variants, '--rounds', '2', '--out', str(out), '--only', 'simclr/freeze']
    assert tool.main(command) == 0
    assert timed == [['baseline', '4', '2-4', '3-4']]
    found = json.loads(out.read_text())
    # 10 / 2 + 8 / 4 + 4 / 4 = 8 of 10; 20 / 2 + 8 / 4 + 8 / 4 = 14 of 20
    ratio = found['variants']['simclr/freeze']['time']
    assert ratio == dict(median=0.75, min=0.7, max=0.8)
    assert found['threads'] == 1 and {'device', 'abilities', 'torch'} <= set(found)

    assert tool.main(command[:-2]) == 0  # what is new
    assert [names[1:] for names in timed[1:]] == [['1', '2', '3', '4']]
    monkeypatch.setattr(step_costs, 'processor_name', lambda _: 'another')
    assert tool.main(command) == 1  # its times do not compare
    assert len(timed) == 2


def test_steps_are_timed_as_they_are_run(variants, tmp_path):
    """The precision and layout of the runs, for both, on the clock."""
    run, plain = read_variants(variants)['simclr/freeze']
    step, baseline = map(step_costs.build_step, (run, plain))
    assert step.numerics[:2] == baseline.numerics[:2] == ('bf16', 'channels_last')
    assert step.batch_size == baseline.batch_size == 8
    found = step_costs.time_step(step, baseline, rounds=1, warmup=0)
    times = found['step_ms']
    expected = times['4']['median'] / 2 + (
        times['2-4']['median'] / 4 + times['3-4']['median'] / 4
    )
    assert found['n'] == 1
    assert found['time']['median'] == pytest.approx(
        expected / found['baseline_ms']['median'], rel=1e-4
    )


@pytest.mark.parametrize('arguments', [['--only', 'simclr/gone'], ['--rounds', '0']])
def test_what_cannot_be_measured_is_told(variants, capsys, arguments):
    assert tool.main([variants, *arguments]) == 1
    assert arguments[-1] in capsys.readouterr().err


def test_operations_of_all_declared_variants_are_recorded():
    entries = json.loads((RESEARCH / 'operations.json').read_text())['variants']
    declared = {}
    for name in GRIDS:
        declared.update(read_variants(str(RESEARCH / 'grids' / name)))
    assert set(entries) == set(declared), 'see step_times.py --operations'
    # as they are counted now
    run, plain = declared['simclr/grow-freeze']
    base = step_costs.build_step(plain)
    macs = step_costs._macs(base, None)
    counted = step_costs.count_operations(run, step_costs.build_step(run), macs)
    assert entries['simclr/grow-freeze'] == counted
