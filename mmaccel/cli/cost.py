"""Print what a training step costs: MACs and activation memory per exit.

The step is run, and what runs is counted: both encoders, projectors, scoring of windows
and the loss, forward and backward.
"""

from __future__ import annotations

import argparse

from .command import exit_title, load, save, shared

EXAMPLES = """\
  mmaccel cost configs/accel/mocov2_r50_8xb32.py
  mmaccel cost configs/accel/mocov2_r50_8xb32.py \\
      --cfg-options model.key_forward=truncated --json cost.json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    shared(parser, 'config', '--baseline', '--size')
    shared(
        parser,
        '--batch-size',
        default=2,
        help='images of the step that is counted; figures are per image; default: 2',
    )
    shared(parser, '--threads', '--json', '--cfg-options')


def run(args: argparse.Namespace) -> None:
    """Count, print and save."""
    import torch

    from mmaccel.analysis.cost import cost_report

    if args.threads:
        torch.set_num_threads(args.threads)
    report = cost_report(
        args.config,
        load(args),
        args.baseline,
        args.batch_size,
        args.size,
    )
    print(
        f'{"":10}{"prob":>6}{"forward":>10}{"backward":>10}{"total":>10}{"memory":>10}'
        f'{"gradients":>11}'
    )
    print(f'{"per image":16}' + f'{"GMACs":>10}' * 3 + f'{"MiB":>10}{"MiB":>11} in all')
    for name, macs in report['macs'].items():
        memory = report['activation_mb'][name], report['gradient_mb'][name]
        _print_row(exit_title(name), report['exit_probs'][name], macs, *memory)
    base = report['baseline_cost']
    if base:
        _print_row('baseline', 1, base, base['activation_mb'], base['gradient_mb'])
    expected = report['expected_macs'] / 1e9, report['expected_gradient_mb']
    print(f'{"expected":36}{expected[0]:10.3f}{"":10}{expected[1]:11.1f}')
    if base:
        ratios = report['ratio'], report['gradient_ratio']
        print(f'{"ratio to the baseline":36}{ratios[0]:10.3f}{"":10}{ratios[1]:11.3f}')
    save(args.json, report)


def _print_row(
    title: str, probability: float, macs: dict, activation: float, gradient: float
) -> None:
    forward, backward = macs['forward'] / 1e9, macs['backward'] / 1e9
    print(
        f'{title:10}{probability:6.2f}{forward:10.3f}{backward:10.3f}'
        f'{forward + backward:10.3f}{activation:10.1f}{gradient:11.1f}'
    )
