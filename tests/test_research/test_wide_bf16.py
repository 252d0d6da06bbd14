"""Products of bfloat16 tensors in fp32: against torch's own, which sum likewise."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from mmaccel import hardware
from research.study import runner
from research.study.wide_bf16 import WideProducts

NETWORKS = {
    'strided': lambda: nn.Conv2d(6, 8, 3, stride=2, padding=1, bias=False),
    'grouped with a bias': lambda: nn.Conv2d(6, 8, 3, groups=2),
    'linear': lambda: nn.Sequential(nn.Flatten(), nn.Linear(6 * 81, 5)),
    'linear without a bias': lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(6 * 81, 5, bias=False)
    ),
}


def outcome(network, images):
    """Output and gradients in mixed precision."""
    images = images.clone().requires_grad_()
    with torch.autocast('cpu', torch.bfloat16):
        output = network(images)
    gradients = torch.autograd.grad(
        output.float().square().sum(), [images, *network.parameters()]
    )
    return [output, *gradients]


@pytest.mark.parametrize('name', NETWORKS)
def test_products_differ_from_torchs_by_rounding_alone(name):
    torch.manual_seed(0)
    network, images = NETWORKS[name](), torch.randn(4, 6, 9, 9)
    expected = outcome(network, images)
    with WideProducts():
        computed = outcome(network, images)
    for one, other in zip(computed, expected):
        assert one.dtype == other.dtype
        # one unit in the last of 8 bits; terms of a sum that cancels, as an absolute
        scale = other.float().abs().max().item()
        torch.testing.assert_close(one, other, rtol=2**-7, atol=2**-8 * scale)
    assert computed[0].dtype == torch.bfloat16


@pytest.mark.parametrize('name', NETWORKS)
def test_a_product_is_the_rounded_one_of_fp32(name):
    torch.manual_seed(0)
    network, images = NETWORKS[name](), torch.randn(4, 6, 9, 9)
    with WideProducts(), torch.autocast('cpu', torch.bfloat16):
        computed = network(images)
    for value in network.parameters():
        value.data = value.data.bfloat16().float()
    expected = network(images.bfloat16().float()).bfloat16()
    torch.testing.assert_close(computed, expected, rtol=0, atol=0)


def test_what_is_no_product_of_bfloat16_is_left_alone():
    network, images = NETWORKS['strided'](), torch.randn(4, 6, 9, 9)
    expected = network(images)
    with WideProducts():
        assert torch.equal(network(images), expected)
        halves = images.bfloat16()
        assert torch.equal(halves.relu().sum(), images.bfloat16().relu().sum())


def test_a_script_runs_with_its_own_arguments_and_neighbours(tmp_path):
    (tmp_path / 'beside.py').write_text('NAME = "beside"')
    script = tmp_path / 'script.py'
    script.write_text(
        'import sys, torch, beside\n'
        'from torch.utils._python_dispatch import _get_current_dispatch_mode_stack\n'
        'modes = [type(m).__name__ for m in _get_current_dispatch_mode_stack()]\n'
        'print(__name__, beside.NAME, sys.argv[1:], *modes)\n'
        'sys.exit(3)\n'
    )
    command = [sys.executable, runner._WIDE_BF16, script, '--amp', 'bf16']
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 3, ended.stderr
    assert ended.stdout.split('\n')[0] == (
        "__main__ beside ['--amp', 'bf16'] WideProducts"
    )


@pytest.mark.parametrize(
    'abilities, precision, wide',
    [
        (['avx2'], 'bf16', True),
        (['avx2'], 'fp16', False),
        (['avx2', 'avx512f', 'avx512_bf16'], 'bf16', False),
        (None, 'bf16', False),
    ],
)
def test_only_a_processor_without_bfloat16_widens(
    monkeypatch, abilities, precision, wide
):
    monkeypatch.setattr(hardware, 'processor_abilities', lambda: abilities)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    command = ['train.py', '--amp', precision]
    expected = [runner._WIDE_BF16, *command] if wide else command
    assert runner._bearable(command) == expected
