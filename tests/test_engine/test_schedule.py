import pytest

from mmaccel.engine.schedule import TrainingStage, read_schedule, shares, stage_at


def test_each_stage_holds_until_the_share_it_names():
    schedule = read_schedule(
        [dict(until=0.3, view_scale=0.5), dict(until=0.8), dict(windows=False)]
    )
    seen = [schedule.index(stage_at(schedule, i / 10)) for i in range(11)]
    assert seen == [0] * 3 + [1] * 5 + [2] * 3
    assert shares(schedule) == pytest.approx([0.3, 0.5, 0.2])


def test_plans_are_all_that_may_be_drawn():
    stage = TrainingStage(exit_probs=(0, 1, 0, 3), entry_probs=(1, 1, 2))
    found = {(p.first_stage, p.exit_stage): share for share, p in stage.plans()}
    expected = {(1, 2): 1 / 8, (2, 2): 1 / 8}
    expected.update({(1, 4): 3 / 16, (2, 4): 3 / 16, (3, 4): 6 / 16})
    assert found == pytest.approx(expected)
    assert stage.stages_with_loss(cumulative=False) == {2, 4}
    assert stage.stages_with_loss(cumulative=True) == {1, 2, 3, 4}


@pytest.mark.parametrize(
    ('stages', 'named'),
    [
        ([dict(resolution=1)], 'resolution'),
        ([dict(until=0.5), dict(until=0.5), dict()], 'until'),
        ([dict(until=0.5)], 'until'),
        ([dict(), dict(until=0.5)], 'until'),
        (dict(until=0.5), 'list of dicts'),
        ('late', 'list of dicts'),
        ([dict(until='half')], 'until'),
        ([dict(until=True)], 'until'),
        ([dict(until=0)], 'until'),
        ([dict(until=1.5)], 'until'),
        ([dict(view_scale='half')], 'view_scale'),
        ([dict(view_scale=0)], 'view_scale'),
        ([dict(view_scale=(0.5, 2))], 'view_scale'),
        ([dict(view_scale=(0.5, 1, 1))], 'view_scale'),
        ([dict(windows='none')], 'windows'),
        ([dict(fold_frozen=1)], 'fold_frozen'),
        ([dict(loss_on='all')], 'loss_on'),
        ([dict(exit_probs=(0, 0, 0, 0))], 'exit_probs'),
        ([dict(entry_probs=None)], 'entry_probs'),
        ([dict(entry_probs=(0, 0))], 'entry_probs'),
        ([dict(entry_probs=(0, 1))], 'entry_probs'),  # exit 1 has nothing to train
    ],
)
def test_schedules_that_cannot_be_are_refused(stages, named):
    with pytest.raises(ValueError, match=named):
        read_schedule(stages)
