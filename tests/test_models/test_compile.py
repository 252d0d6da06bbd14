"""Compiled stages compute the same, and there is one graph a stage."""

import copy

import torch
from torch._dynamo.testing import CompileCounter

from mmaccel.models.plan import StepPlan
from tests.builders import CROP, build, moco_config, views
from tests.steps import sgd, step


def test_one_graph_a_stage_serves_every_exit():
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
