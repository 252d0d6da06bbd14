"""Steps on fake CUDA: where tensors are, what is launched, and what waits."""

import json
from pathlib import Path
from unittest import mock

import mmengine.dist.dist
import pytest
import torch
from mmengine.config import Config
from torch import nn

from mmaccel.analysis import Numerics
from mmaccel.analysis.compiled import CompiledStage
from mmaccel.analysis.count_report import count_report
from mmaccel.analysis.fake_cuda import FakeStepRunner
from mmaccel.engine.config import load_config
from mmaccel.engine.fast_views import use_fast_views
from mmaccel.engine.stagewise_parallel import StagewiseDataParallel
from mmaccel.errors import ConfigError
from mmaccel.models import ViewPreprocessor
from tests.processes import ROOT, exit_code

TABLE = json.loads((ROOT / 'benchmarks/results/cuda-counts.json').read_text())
#: What the changes of the step are held to: kernels of upstream's, at most.
TARGETS = {'mocov': 0.60, 'simclr': 0.40, 'swav_r50_8xb32.py': 0.40, 'mcrop': 0.42}


@pytest.mark.parametrize('path', [p for p in TABLE if '--compile' not in p])
def test_steps_are_as_lean_as_the_table_says(path):
    """Each exit of the shipped model, with its own optimizer, views and layout."""
    report = count_report(path, load_config(path))
    for name, row in report['steps'].items():
        known = TABLE[path]['steps'][name]
        if name == 'baseline':
            assert row['waits'] > 0  # upstream's are seen
            continue
        assert row['launches'] <= known['launches'], name
        assert row['gib'] <= known['gib'] + 0.01, name
        assert row['waits'] == 0, row['waits_at']
        assert not row['slow'] and not row['relaid'], name
    for part, most in TARGETS.items():
        if part in path and 'r50' in path:
            assert report['ratio']['launches'] <= most


@pytest.mark.parametrize(
    'path',
    [
        *(f'configs/accel/{m}_r50_8xb32-exact.py' for m in ('mocov1', 'simclr')),
        'configs/accel/mocov2_r50_8xb32-best.py',
        'configs/ablations/mocov2_truncated-keys.py',
        'configs/ablations/mocov2_skipping.py',
        'configs/ablations/simclr_candidates-4.py',
    ],
)
def test_other_presets_run_on_cuda_without_waiting(path):
    runner = FakeStepRunner(load_config(path), 4, 64)
    for variant in list(runner.variants.values())[-3:]:
        runner.step(variant.plan)
        runner.step(variant.plan)
        assert not runner.counts.waits
        assert not runner.counts.slow


def collectives(cfg, rank):
    """By exit, what one of eight ranks calls."""
    from torch.testing._internal.distributed.fake_pg import FakeStore

    cuda = torch.device('cuda:0')
    torch.distributed.init_process_group(
        'fake', rank=rank, world_size=8, store=FakeStore()
    )
    try:
        with (
            mock.patch.object(mmengine.dist.dist, 'get_comm_device', lambda _: cuda),
            mock.patch.object(mmengine.dist.dist, 'get_data_device', lambda _: cuda),
            mock.patch('mmaccel.engine.stagewise_parallel.get_device', lambda: 'cuda'),
        ):
            runner = FakeStepRunner(cfg, 4, 64)
            runner.wrap(StagewiseDataParallel)
            found = {}
            for name, variant in runner.variants.items():
                runner.step(variant.plan)
                runner.step(variant.plan)
                assert not runner.counts.our_waits, name
                found[name] = runner.counts.collectives
            return found
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize('method', ['mocov2', 'simclr', 'swav'])
def test_ranks_agree_and_communicate_on_the_device(method):
    cfg = load_config(f'configs/accel/{method}_r50_8xb32.py')
    first, other = (collectives(cfg, rank) for rank in (0, 5))
    assert first == other
    for name, calls in first.items():
        assert calls and {call.device for call in calls} == {'cuda'}, name
    if method == 'mocov2':  # images, three for each window, keys of all heads
        gathered = [call for call in first['4'] if 'gather' in call.name]
        assert len(gathered) == 8
    if method == 'swav':  # windows twice and the loss: 5 each, all views at once
        reduced = [call for call in first['4'] if call.elements < 10_000]
        assert len([call for call in reduced if 'reduce' in call.name]) >= 15


@pytest.mark.parametrize(('method', 'most'), [('mocov2', 200), ('simclr', 200)])
def test_augmentations_are_few_kernels_and_no_wait(monkeypatch, method, most):
    pytest.importorskip('kornia')
    monkeypatch.setattr('mmaccel.engine.fast_views.get_device', lambda: 'cuda')
    path = f'configs/accel/{method}_r50_8xb32.py'
    cfg = load_config(path, dict(fast_views=True))
    use_fast_views(cfg)
    runner = FakeStepRunner(load_config('configs/small/mocov2_r18_cifar10.py'), 4)
    options = {k: v for k, v in cfg.model.data_preprocessor.items() if k != 'type'}
    preprocessor = runner._move(ViewPreprocessor(**options))
    image = torch.zeros(32, 3, 224, 224, dtype=torch.uint8)
    views = [runner._move(image) for _ in preprocessor.pipelines]
    for _ in range(3):  # other parameters each time
        counts = runner.counted(lambda: preprocessor.augment(views))
        assert counts.launches <= most
        assert not counts.waits


class Waits(nn.Module):
    """Upstream's ways of waiting, and one that does not."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x, ways):
        x = self.linear(x)
        if 'item' in ways:
            x = x * x.sum().item()
        if 'index' in ways:
            x = x[:, [2, 1, 0]]
        if 'copy' in ways:
            x = x + torch.zeros(1).to(x.device)
        if 'mask' in ways:
            x = x[x > 0]
        if 'pinned' in ways:
            x = x + torch.zeros(1).pin_memory().to(x.device, non_blocking=True)
        return x.sum()


@pytest.mark.parametrize(
    ('ways', 'waits'),
    [
        ((), 0),
        (('item',), 1),
        (('index',), 1),
        (('copy',), 1),
        (('mask',), 1),
        (('pinned',), 0),
        (('item', 'copy', 'mask'), 3),
    ],
)
def test_waits_are_seen(ways, waits):
    runner = FakeStepRunner(load_config('configs/small/mocov2_r18_cifar10.py'), 4)
    model = runner._move(Waits())
    x = runner._move(torch.rand(3, 4))
    counts = runner.counted(lambda: model(x, ways).backward())
    assert len(counts.waits) == waits
    assert model.linear.weight.grad.device.type == 'cuda'
    assert counts.launches > 3 and counts.moved > 0


def test_tensors_of_two_devices_do_not_meet():
    runner = FakeStepRunner(load_config('configs/small/mocov2_r18_cifar10.py'), 4)
    x = runner._move(torch.rand(3, 4))
    with pytest.raises(RuntimeError, match='device'):
        runner.counted(lambda: x + torch.rand(3, 4))


@pytest.mark.parametrize('layout', ['contiguous', 'channels_last'])
def test_the_backward_pass_is_torchs(layout):
    """Shapes and types of every gradient, against torch's engine on the CPU."""
    path = 'configs/small/accel-simclr_r18_cifar10.py'
    cfg = load_config(path)
    cfg.model.channels_last = layout == 'channels_last'
    from mmaccel.analysis.step import StepRunner

    runners = StepRunner(cfg, 4), FakeStepRunner(cfg, 4)
    plan = runners[0].variants['4'].plan
    for runner in runners:
        zero_grad = runner.optim_wrapper.zero_grad
        runner.optim_wrapper.zero_grad = lambda *_, **__: None
        runner.step(plan)
        runner.optim_wrapper.zero_grad = zero_grad
    real, fake = (dict(r.model.named_parameters()) for r in runners)
    for name, parameter in real.items():
        grad = fake[name].grad
        assert (parameter.grad is None) == (grad is None), name
        if grad is not None:
            assert grad.shape == parameter.grad.shape, name
            assert grad.dtype == parameter.grad.dtype, name


def test_command(tmp_path, capsys):
    path = 'configs/small/accel-mocov2_r18_cifar10.py'
    argv = ['step', path, '--count', '--batch-size', '4', '--json', tmp_path / 'x.json']
    assert exit_code(*argv) == 0
    out = capsys.readouterr().out
    assert 'exit 4' in out and 'baseline' in out and 'waits' in out
    report = json.loads((tmp_path / 'x.json').read_text())
    assert report['ratio']['launches'] == pytest.approx(
        report['expected']['launches'] / report['steps']['baseline']['launches']
    )


def test_the_page_has_the_table():
    from tests.processes import load_benchmark

    page = Path(ROOT / 'docs/performance.md').read_text()
    assert load_benchmark('counts').table(TABLE) in page


def test_an_upstream_config_without_a_baseline():
    cfg = load_config('configs/small/mocov2_r18_cifar10.py')
    report = count_report('x', Config(cfg._cfg_dict), batch_size=4)
    assert list(report['steps']) == ['step'] and report['ratio'] is None


class Pointwise(nn.Module):
    """Four operators, one kernel where they are fused."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1, 8, 1, 1))

    def forward(self, x):
        return ((x + 1).relu() * self.scale).sigmoid()


@pytest.fixture(scope='module')
def small_step():
    """A runner whose model is small and compiled."""
    cfg = load_config('configs/small/accel-simclr_r18_cifar10.py')
    return FakeStepRunner(cfg, 4, 32, Numerics(compile_stages=True))


def test_compiled_stages_are_counted_as_they_are_fused(small_step):
    """Against what such a kernel has to read and write."""
    runner, stage = small_step, Pointwise()
    runner._move(stage)
    x = runner._move(torch.ones(4, 8, 16, 16)).requires_grad_()
    counted = []

    def body():
        compiled = CompiledStage(stage, stage, lambda: runner._counter)
        y = compiled(x)
        counted.append(runner._counter.counts.launches)
        counted.append(runner._counter.counts.moved)
        y.backward(y)
        assert x.grad.shape == x.shape and stage.scale.grad.shape == stage.scale.shape

    counts = runner.counted(body)
    once = 4 * 8 * 16 * 16 * 4  # bytes of the map
    assert counted == [1, 2 * once + 8 * 4]
    # read: the gradient, and its input or its result; written: the input's gradient
    name = 'compiled stage, backward (4, 8, 16, 16)'
    assert counts.operators[name] <= 2
    assert 3 * once <= counts.movers[name] <= 5 * once


def test_a_compiled_step_has_the_same_gradients_and_moves_less(small_step):
    plain = FakeStepRunner(
        load_config('configs/small/accel-simclr_r18_cifar10.py'), 4, 32
    )
    moved, trained = [], []
    for runner in (plain, small_step):
        counts = runner.counted(
            lambda runner=runner: (
                runner.use(runner.variants['1'].plan),
                runner.forward().backward(),
            )
        )
        named = runner.model.named_parameters()
        trained.append({name: p.grad.shape for name, p in named if p.grad is not None})
        moved.append(counts.moved)
        assert not counts.waits
    assert trained[0] == trained[1]
    assert 0.5 * moved[0] < moved[1] < moved[0]
    assert any(name.startswith('compiled stage') for name in counts.movers)


def test_a_compiler_that_cannot_be_asked_is_named(small_step, monkeypatch):
    from torch._inductor import graph

    def missing(*_, **__):
        raise AttributeError('no such thing')

    monkeypatch.setattr(graph.GraphLowering, 'count_bytes', missing)
    stage = Pointwise()
    small_step._move(stage)
    compiled = CompiledStage(stage, stage, lambda: small_step._counter)
    with pytest.raises(ConfigError, match='--compile'):
        small_step.counted(lambda: compiled(small_step._move(torch.ones(4, 8, 16, 16))))
