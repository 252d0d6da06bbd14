"""The clock of training time: what it counts, and in which seconds."""

import time
from types import SimpleNamespace

import pytest
from mmengine.logging import MessageHub

from mmaccel.engine.hooks import ThroughputHook


@pytest.fixture
def runner(request):
    return SimpleNamespace(message_hub=MessageHub(request.node.name))


def seconds(runner):
    return runner.message_hub.get_info('train_seconds')


@pytest.mark.parametrize(('clock', 'unit'), [('wall', 10.0), ('cpu', 1.0)])
def test_iterations_count_and_what_lies_between_epochs_does_not(
    runner, monkeypatch, clock, unit
):
    now = 100.0
    fake = SimpleNamespace(perf_counter=lambda: 10 * now, process_time=lambda: now)
    monkeypatch.setattr('mmaccel.engine.hooks.throughput_hook.time', fake)
    runner.message_hub.update_info('train_seconds', 7.0)  # of a resumed run
    hook = ThroughputHook(clock)
    hook.before_train(runner)
    now += 50  # an evaluation
    assert seconds(runner) == 7.0
    for _ in range(2):
        hook.before_train_epoch(runner)
        for i in range(3):
            now += 2
            hook.after_train_iter(runner, i)
            with hook.stopped():
                now += 5  # a checkpoint
        now += 30  # an evaluation
    assert seconds(runner) == 7.0 + 12 * unit


def test_waiting_takes_no_processor_time(runner):
    hook = ThroughputHook('cpu')
    hook.before_train(runner)
    hook.before_train_epoch(runner)
    time.sleep(0.2)
    hook.after_train_iter(runner, 0)
    waited = seconds(runner)
    assert 0 <= waited < 0.1
    busy = time.process_time()
    while time.process_time() - busy < 0.1:
        pass
    hook.after_train_iter(runner, 1)
    assert 0.1 <= seconds(runner) - waited < 0.2


def test_an_unknown_clock_is_refused():
    with pytest.raises(ValueError, match="clock='gpu' is unknown; use 'wall' or 'cpu'"):
        ThroughputHook('gpu')
