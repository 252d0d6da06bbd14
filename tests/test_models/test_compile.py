"""Compiled stages compute the same, and there is one graph per stage and shape."""

import copy

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from mmaccel.models.plan import StepPlan
from tests.builders import CROP, build, moco_config, views
from tests.steps import sgd, step


def test_one_graph_per_stage_serves_every_exit():
    torch._dynamo.reset()
    counter = CompileCounter()
    plain = build(moco_config(crop_layer=CROP))
    compiled = build(moco_config(crop_layer=CROP))
    compiled.load_state_dict(plain.state_dict())
    compiled.compile_stages = counter
    optimizers = [sgd(plain), sgd(compiled)]
    for i, exit_stage in enumerate((1, 4, 2, 3, 4, 1)):
        losses = []
        for model, optimizer in zip((plain, compiled), optimizers):
            model.plan = StepPlan(exit_stage=exit_stage, window_seed=(1, i))
            losses.append(step(model, optimizer, views(seed=i), seed=i))
        torch.testing.assert_close(losses[1], losses[0])
    assert counter.frame_count == 8  # four stages of the query, four of the key
    for (name, x), y in zip(plain.state_dict().items(), compiled.state_dict().values()):
        torch.testing.assert_close(y, x, msg=lambda m, n=name: f'{n}: {m}')


def test_state_copies_and_evaluation_know_nothing_of_it():
    torch._dynamo.reset()
    model = build(moco_config(compile_stages='eager'))
    names = list(model.state_dict())
    model.plan = StepPlan(exit_stage=4)
    step(model, sgd(model), views(), seed=0)
    assert list(model.state_dict()) == names
    twin = copy.deepcopy(model).eval()
    model.eval()
    x = views(count=1)[0]
    assert torch.equal(twin.backbone(x)[-1], model.backbone(x)[-1])


def test_schedules_bring_graphs_and_never_an_eager_stage():
    """Three sizes of views, windows and whole maps, ends of the gradient, any exit."""
    torch._dynamo.reset()
    counter = CompileCounter()
    model = build(moco_config(crop_layer=CROP))
    model.compile_stages = counter
    optimizer = sgd(model)
    plans = [
        StepPlan(exit_stage=e, view_scale=scale, windows=windows, first_stage=first)
        for scale in (1.0, 0.75, 0.5)
        for windows in (True, False)
        for e, first in ((4, 1), (2, 1), (4, 3), (3, 2))
    ]
    compiled = torch._dynamo.utils.counters
    for i, plan in enumerate(plans):
        model.plan = plan
        step(model, optimizer, views(seed=i), seed=i)
    graphs = counter.frame_count
    assert graphs > 8  # more than one function would be allowed
    for i, plan in enumerate(plans):  # all are there now
        model.plan = plan
        step(model, optimizer, views(seed=i), seed=i)
    assert counter.frame_count == graphs
    assert not compiled['recompile_limit'] and not compiled['graph_break']


@pytest.mark.parametrize('how', [True, 'reduce-overhead', 'inductor', 'eager'])
def test_a_mode_is_a_mode_and_a_backend_a_backend(monkeypatch, how):
    asked, steps = [], []

    def compile_(function, **how):
        asked.append({k: v for k, v in how.items() if k != 'dynamic'})
        return function

    monkeypatch.setattr(torch, 'compile', compile_)
    monkeypatch.setattr(
        torch.compiler, 'cudagraph_mark_step_begin', lambda: steps.append(1)
    )
    model = build(moco_config(compile_stages=how))
    for i in range(3):
        model.plan = StepPlan(exit_stage=4)
        model(views(seed=i), [], mode='loss')
    expected = {True: {}, 'reduce-overhead': dict(mode=how)}
    assert asked == [expected.get(how, dict(backend=how))] * 8
    assert len(steps) == (3 if how == 'reduce-overhead' else 0)


def test_stages_can_be_recorded_as_cuda_graphs():
    """No stage reads a value on the host or makes a tensor on another device.

    Either would end a CUDA graph. The tensors are on the meta device, so that one on
    the CPU shows.
    """
    torch._dynamo.reset()
    graphs = []

    def record(graph, _):
        graphs.append(graph)
        return graph

    model = build(moco_config()).to('meta')
    for name, stages in (
        ('query', model.backbone),
        ('key', model.encoder_k.module[0]),
    ):
        model.compile_stages = record
        x = torch.empty(4, 3, 64, 64, device='meta')
        for stage in model.stages(name, stages):
            x = stage(x)
    assert len(graphs) == 8
    for graph in graphs:
        assert len(list(graph.graph.nodes)) > 10
        for node in graph.graph.nodes:
            assert 'nonzero' not in str(node.target) and str(node.target) != 'item'
            value = node.meta.get('example_value')
            if isinstance(value, torch.Tensor):
                assert value.device.type == 'meta', node
    counters = torch._dynamo.utils.counters
    assert not counters['graph_break']
