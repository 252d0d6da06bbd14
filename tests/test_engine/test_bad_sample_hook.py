from types import SimpleNamespace

import pytest
from mmselfsup.structures import SelfSupDataSample

from mmaccel.engine import BadSampleHook
from mmaccel.errors import TrainingStopped
from tests.processes import fork_ranks


def runner(total, warnings=None):
    warnings = [] if warnings is None else warnings
    return SimpleNamespace(
        train_dataloader=SimpleNamespace(dataset=range(total)),
        logger=SimpleNamespace(warning=warnings.append),
    )


def batch(size, *paths):
    samples = [SelfSupDataSample() for _ in range(size)]
    for sample, path in zip(samples, paths):
        sample.set_metainfo(dict(bad_samples=[(path, 'truncated')]))
    return dict(data_samples=samples)


def test_names_each_file_once():
    warnings, hook = [], BadSampleHook()
    run = runner(1000, warnings)
    for i, paths in enumerate([['a.jpg'], [], ['a.jpg', 'b.jpg']]):
        hook.before_train_iter(run, i, batch(4, *paths))
    assert len(warnings) == 2
    assert 'a.jpg (truncated); 1 so far' in warnings[0]
    assert 'b.jpg (truncated); 2 so far' in warnings[1]


@pytest.mark.parametrize(
    ('total', 'tolerated'),
    [
        (50, 1),  # one file is never enough
        (200, 2),
        (1000, 10),
        (10**6, 10),  # in the first thousand
    ],
)
def test_stops_above_one_percent(total, tolerated):
    hook, run = BadSampleHook(), runner(total)
    for i in range(tolerated):
        hook.before_train_iter(run, i, batch(4, f'{i}.jpg'))
    with pytest.raises(TrainingStopped, match=rf'{tolerated + 1} of .* 1\.00%.*x\.jpg'):
        hook.before_train_iter(run, tolerated, batch(4, 'x.jpg'))


def test_tolerates_more_as_more_is_seen():
    hook, run = BadSampleHook(), runner(10**6)
    for i in range(100):
        hook.before_train_iter(run, i, batch(100, f'{i}.jpg' if i % 2 else 'same.jpg'))
    with pytest.raises(TrainingStopped):
        hook.before_train_iter(run, 101, batch(100, *map(str, range(60))))


def test_same_file_again_does_not_add_up():
    hook, run = BadSampleHook(), runner(50)
    for epoch in range(300):
        hook.before_train_iter(run, epoch, batch(50, 'a.jpg'))


@pytest.mark.parametrize('data', [None, [], dict(inputs=1), dict(data_samples=[1])])
def test_other_batches_pass(data):
    BadSampleHook().before_train_iter(runner(10), 0, data)


@pytest.mark.parametrize('kwargs', [dict(max_fraction=1.5), dict(interval=0)])
def test_refuses_impossible_settings(kwargs):
    with pytest.raises(ValueError, match='BadSampleHook needs'):
        BadSampleHook(**kwargs)


def two_ranks(rank):
    """Rank 1 meets broken files that rank 0 never sees."""
    warnings, hook = [], BadSampleHook(interval=3)
    run = runner(50, warnings)
    logged = []
    try:
        for i in range(6):
            paths = [f'{i}.jpg'] if rank == 1 and i in (0, 4) else []
            hook.before_train_iter(run, i, batch(2, *paths))
            logged.append(len(warnings))
    except TrainingStopped as error:
        return logged, str(error)
    return logged, None


def test_ranks_stop_together():
    (logged_0, error_0), (logged_1, error_1) = fork_ranks(two_ranks)
    assert logged_0 == logged_1 == [0, 0, 1, 1, 1]
    assert error_0 == error_1 and '2 of 50' in error_0
