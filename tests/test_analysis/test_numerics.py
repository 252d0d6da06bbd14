"""Precision, layout and memory of measured steps."""

import pytest
import torch
from mmselfsup.registry import MODELS
from torch import nn

from mmaccel.analysis import Numerics, StepRunner
from mmaccel.analysis.memory import extra_memory, peak_memory_mb
from mmaccel.errors import ConfigError
from mmaccel.models import AccelMoCo
from mmaccel.models.plan import StepPlan
from tests.test_analysis.test_cost import config

CPU = torch.device('cpu')


def watched_convolutions(model):
    """Layout and type of every convolution's input and output in the next step."""
    seen = []
    last = dict(memory_format=torch.channels_last)
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1):
            module.register_forward_hook(
                lambda _, x, out: seen.append((x[0].is_contiguous(**last), out.dtype))
            )
    return seen


@pytest.mark.parametrize('accel', [True, False])
def test_channels_last_reaches_both_encoders_and_changes_no_result(accel):
    losses = []
    for layout in ('config', 'channels_last'):
        runner = StepRunner(config(accel), 4, numerics=Numerics(layout=layout))
        seen = watched_convolutions(runner.model)
        torch.manual_seed(0)
        losses.append(runner.forward())
        expected = layout == 'channels_last'
        assert {last for last, _ in seen} == {expected}
        assert len(seen) == 2 * 17  # query and key ResNet-18
        name = 'channels_last' if expected else 'contiguous'
        assert runner.numerics == ('fp32', name, False)
    torch.testing.assert_close(*losses)


def test_contiguous_overrides_the_config():
    numerics = Numerics(layout='contiguous')
    runner = StepRunner(config(channels_last=True), 4, numerics=numerics)
    assert runner.model.layout is torch.contiguous_format
    assert StepRunner(config(channels_last=True), 4).numerics.layout == 'channels_last'


def test_bf16_computes_in_bf16_and_steps_in_fp32():
    runner = StepRunner(config(), 4, numerics=Numerics('bf16'))
    seen = watched_convolutions(runner.model)
    before = runner.model.backbone.conv1.weight.detach().clone()
    runner.step(StepPlan(2))
    assert {dtype for _, dtype in seen} == {torch.bfloat16}
    after = runner.model.backbone.conv1.weight
    assert after.dtype == torch.float32 and not torch.equal(before, after)


def test_precision_is_read_from_the_config():
    cfg = config()
    cfg.optim_wrapper.update(type='AmpOptimWrapper', dtype='bfloat16', loss_scale=2.0)
    assert StepRunner(cfg, 4).numerics.precision == 'bf16'
    plain = StepRunner(cfg, 4, numerics=Numerics('fp32'))
    assert plain.numerics.precision == 'fp32'
    assert type(plain.optim_wrapper).__name__ == 'OptimWrapper'
    assert Numerics().resolve(cfg, torch.device('cuda')).precision == 'bf16'
    del cfg.optim_wrapper['dtype']
    assert Numerics().resolve(cfg, torch.device('cuda')).precision == 'fp16'
    with pytest.raises(ConfigError, match='--precision bf16'):
        StepRunner(cfg, 4)
    cfg.optim_wrapper = dict(plain.numerics.optimizer_config(cfg))
    cfg.optim_wrapper.type = 'mmselfsup.AutocastOptimWrapper'
    assert Numerics().resolve(cfg, CPU).precision == 'bf16'
    cfg.optim_wrapper.type = 'ApexOptimWrapper'
    assert Numerics().resolve(cfg, CPU).optimizer_config(cfg) == cfg.optim_wrapper
    with pytest.raises(ConfigError, match='ApexOptimWrapper'):
        Numerics('bf16').optimizer_config(cfg)


def test_fp16_is_scaled():
    cfg = config()
    numerics = Numerics('fp16').resolve(cfg, torch.device('cuda'))
    wrapper = numerics.optimizer_config(cfg)
    assert (wrapper.type, wrapper.get('dtype')) == ('AmpOptimWrapper', None)
    assert wrapper.loss_scale == 'dynamic'
    assert 'type' not in cfg.optim_wrapper or cfg.optim_wrapper.type != wrapper.type


def test_compilation_is_for_models_that_have_it():
    cfg = config(accel=False)
    with pytest.raises(ConfigError, match='no option compile_stages; leave out'):
        Numerics(compile_stages=True).resolve(cfg, CPU)

    @MODELS.register_module()
    class CompilableMoCo(AccelMoCo):
        def __init__(self, *args, compile_stages=False, **kwargs):
            super().__init__(*args, **kwargs)

    try:
        cfg = config()
        cfg.model.type = 'CompilableMoCo'
        numerics = Numerics(compile_stages=True).resolve(cfg, CPU)
        assert numerics.model_config(cfg).compile_stages is True
        assert not Numerics().resolve(cfg, CPU).compile_stages
    finally:
        MODELS.module_dict.pop('CompilableMoCo')


def test_memory_is_the_highest_point_not_the_sum():
    def body():
        held = torch.empty(2**20, dtype=torch.uint8)
        for _ in range(3):
            passing = torch.empty(2**21, dtype=torch.uint8)
            del passing
        return held

    assert extra_memory(CPU, body) == pytest.approx(3 * 2**20, rel=0.01)


def test_a_steps_memory_grows_with_batch_and_exit_and_is_its_own():
    small, large = (StepRunner(config(), n) for n in (4, 16))
    for runner in (small, large):
        for _ in range(2):  # momentum comes with the first
            runner.step(StepPlan(4))
    ballast = torch.zeros(2**24)  # another's 64 MiB
    first = [peak_memory_mb(small, StepPlan(e)) for e in (1, 4)]
    assert peak_memory_mb(large, StepPlan(1)) > 2 * first[0]
    assert first[0] <= first[1] < 16
    weights = sum(p.untyped_storage().nbytes() for p in small.model.parameters())
    assert weights / 2**20 < first[0]
    assert ballast.sum() == 0
