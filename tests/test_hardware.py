"""What the system says of a processor, and who is told that it is slow in bf16."""

import pytest
import torch
from mmengine.optim import build_optim_wrapper

from mmaccel import hardware
from mmaccel.engine import autocast_wrapper
from mmaccel.evaluation.features import extract_stage_features
from tests.builders import build, moco_config

DTYPES = dict(fp32=None, bf16=torch.bfloat16)
X86 = 'processor : 0\nmodel name : A: B\nflags : fpu {}\n\nprocessor : 1\nflags : x\n'
ARM = 'processor : 0\nFeatures : fp asimd {}\n'


@pytest.fixture
def cpuinfo(tmp_path, monkeypatch):
    """Replaces what the system says; a processor is warned of anew."""
    path = tmp_path / 'cpuinfo'
    monkeypatch.setattr(hardware, '_CPUINFO', str(path))
    autocast_wrapper.warn_if_slow_in_bf16.cache_clear()
    yield path.write_text
    autocast_wrapper.warn_if_slow_in_bf16.cache_clear()


@pytest.mark.parametrize(
    ('text', 'abilities', 'emulates'),
    [
        (X86.format('avx2'), ['avx2'], True),
        (X86.format('avx2 avx512f avx512fma'), ['avx2', 'avx512f'], True),
        (X86.format('amx_bf16 avx512_bf16'), ['avx512_bf16', 'amx_bf16'], False),
        (ARM.format('sve'), [], True),
        (ARM.format('bf16'), ['bf16'], False),
        ('', None, False),
    ],
)
def test_abilities_are_those_of_the_first_processor(cpuinfo, text, abilities, emulates):
    cpuinfo(text)
    assert hardware.processor_abilities() == abilities
    assert hardware.emulates_bf16() == emulates
    if text.startswith(X86[:20]):
        assert hardware.processor_name('cpu') == 'CPU A: B'


@pytest.mark.parametrize('flags', ['avx2 avx512f', 'avx2 avx512_bf16'])
@pytest.mark.parametrize('what', ['training', 'evaluation'])
def test_bf16_without_instructions_for_it_is_warned_of_once(
    cpuinfo, monkeypatch, flags, what
):
    cpuinfo(X86.format(flags))
    said = []
    monkeypatch.setattr(
        autocast_wrapper, 'print_log', lambda text, **_: said.append(text)
    )
    model = build(moco_config(accel=False))

    def compute(precision):
        if what == 'evaluation':
            return list(extract_stage_features(model, [], DTYPES[precision]))
        cfg = dict(optimizer=dict(type='SGD', lr=0.1))
        autocast_wrapper.set_precision(cfg, precision)
        with build_optim_wrapper(model, cfg).optim_context(model):
            return None

    compute('fp32')
    assert not said
    compute('bf16')
    compute('bf16')
    assert len(said) == ('avx512_bf16' not in flags)
    assert all('several times slower than in fp32' in text for text in said)
