"""Batches that are copied ahead."""

import types
from contextlib import contextmanager

import pytest
import torch

from mmaccel.engine.prefetch import on_device


def batches(number):
    return [dict(inputs=[torch.full((2,), i)], data_samples=[i]) for i in range(number)]


def test_on_the_cpu_batches_are_passed_on():
    given = batches(3)
    assert [x is y for x, y in zip(on_device(given, torch.device('cpu')), given)] == [
        True
    ] * 3


class Recorder:
    """Stands for torch.cuda and writes down what is asked of it."""

    def __init__(self):
        self.log = []

    def Stream(self, device):
        return 'side'

    @contextmanager
    def stream(self, stream):
        self.log.append(f'on {stream}')
        yield
        self.log.append('back')

    def Event(self):
        number = sum(line.startswith('event') for line in self.log)

        def record(stream):
            self.log.append(f'event {number} on {stream}')

        return types.SimpleNamespace(record=record, number=number)

    def current_stream(self):
        return types.SimpleNamespace(
            wait_event=lambda event: self.log.append(f'wait {event.number}')
        )


class OnHost(torch.Tensor):
    """A tensor of the host that writes down what is done with it."""

    @staticmethod
    def __new__(cls, number, log):
        return torch.Tensor._make_subclass(cls, torch.zeros(2))

    def __init__(self, number, log):
        self.number, self.log = number, log

    def to(self, device, non_blocking):
        assert non_blocking
        self.log.append(f'copy {self.number}')
        return OnHost(self.number, self.log)

    def record_stream(self, _):
        self.log.append(f'keep {self.number}')


@pytest.fixture
def cuda(monkeypatch):
    recorder = Recorder()
    for name in ('Stream', 'stream', 'Event', 'current_stream'):
        monkeypatch.setattr(torch.cuda, name, getattr(recorder, name))
    return recorder


def test_one_batch_is_copied_ahead(cuda):
    given = [dict(inputs=[OnHost(i, cuda.log)], data_samples=[i]) for i in range(3)]
    seen = []
    for batch in on_device(given, torch.device('cuda')):
        assert batch['inputs'][0].number == batch['data_samples'][0]
        seen.append(batch['data_samples'][0])
        cuda.log.append(f'step {seen[-1]}')
    assert seen == [0, 1, 2]
    log = cuda.log
    for i in range(3):
        copied, waited = log.index(f'copy {i}'), log.index(f'wait {i}')
        assert log[copied - 1] == 'on side'
        assert copied < log.index(f'event {i} on side') < waited
        assert waited < log.index(f'keep {i}') < log.index(f'step {i}')
    for i in range(2):  # the next one is on its way before the step starts
        assert log.index(f'copy {i + 1}') < log.index(f'step {i}')
    assert list(on_device([], torch.device('cuda'))) == []


def test_inputs_keep_their_form(cuda):
    one, nested = OnHost(0, cuda.log), [[OnHost(1, cuda.log)], OnHost(2, cuda.log)]
    given = [dict(inputs=one), dict(inputs=nested)]
    first, second = (b['inputs'] for b in on_device(given, torch.device('cuda')))
    assert isinstance(first, OnHost) and first.number == 0
    assert [len(second), second[0][0].number, second[1].number] == [2, 1, 2]
    for i in range(3):
        assert f'copy {i}' in cuda.log and f'keep {i}' in cuda.log
