"""Print what a training step of a config costs: MACs and activation memory an exit."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

try:
    import mmaccel  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != 'mmaccel':
        raise
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a plain checkout

import torch
from mmaccel.engine.cli import Command
from mmengine.config import DictAction

from mmaccel.analysis import StepRunner, cost_of_step
from mmaccel.analysis.floor import Ceilings, floor_of_step, measure_ceilings
from mmaccel.engine.config import load_config

EXAMPLES = """examples:
  python tools/analysis_tools/get_cost.py configs/accel/mocov2_r50_8xb32.py
  python tools/analysis_tools/get_cost.py configs/accel/mocov2_r50_8xb32.py \\
      --cfg-options model.key_forward=truncated --json cost.json
  python tools/analysis_tools/get_cost.py configs/accel/mocov2_r50_8xb32.py \\
      --floor --batch-size 8
"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='pretraining config')
    parser.add_argument(
        '--baseline', help="config to compare with; default: the config's `baseline`"
    )
    parser.add_argument('--size', type=int, help='side of the views in pixels')
    parser.add_argument(
        '--batch-size',
        type=int,
        default=2,  # the fewest that batch norms of vectors accept
        help='images of the step that is counted; figures are an image; default: 2',
    )
    parser.add_argument(
        '--floor',
        action='store_true',
        help='also add up, operation by operation, the least milliseconds that this '
        "CPU needs by its measured ceilings; give benchmark_step.py's batch size",
    )
    parser.add_argument('--threads', type=int, help='CPU threads')
    parser.add_argument('--json', metavar='F', help='also write the figures to F')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, help='override settings'
    )
    return parser.parse_args(argv)


def measure(
    config: str,
    args: argparse.Namespace,
    ceilings: Ceilings | None,
    options: dict | None = None,
) -> dict[str, dict]:
    """Return the cost and the probability of everything an update may do."""
    runner = StepRunner(load_config(config, options), args.batch_size, args.size)
    costs = {}
    for name, (probability, plan) in runner.variants.items():
        costs[name] = dict(cost_of_step(runner, plan), probability=probability)
        if ceilings is not None:
            floor = floor_of_step(runner, ceilings, plan)
            costs[name].update(
                moved_mb=round(floor.bytes / 2**20, 1),
                floor_ms=round(1000 * floor.seconds, 1),
            )
    return costs


def total(cost: dict) -> int:
    """Forward and backward together."""
    return cost['forward'] + cost['backward']


def main(argv: list[str] | None = None) -> int:
    """Count, print and save; return the exit code."""
    args = parse_args(argv)
    return Command().run(lambda _: report_cost(args))


def report_cost(args: argparse.Namespace) -> None:
    """Count, print and save."""
    if args.threads:
        torch.set_num_threads(args.threads)
    ceilings = measure_ceilings() if args.floor else None
    costs = measure(args.config, args, ceilings, args.cfg_options)
    baseline = args.baseline or load_config(args.config).get('baseline')
    expected = sum(cost['probability'] * total(cost) for cost in costs.values())
    reduced = sum(cost['probability'] * cost['gradient_mb'] for cost in costs.values())
    report = dict(
        device='cpu',
        torch=torch.__version__,
        config=args.config,
        batch_size=args.batch_size,
        n=1,
        unit='MACs an image',
        exit_probs={name: cost['probability'] for name, cost in costs.items()},
        macs={
            name: {key: cost[key] for key in ('forward', 'backward')}
            for name, cost in costs.items()
        },
        activation_mb={name: cost['activation_mb'] for name, cost in costs.items()},
        gradient_mb={name: cost['gradient_mb'] for name, cost in costs.items()},
        expected_gradient_mb=round(reduced, 3),
        expected_macs=round(expected),
        baseline=baseline,
        baseline_macs=None,
        ratio=None,
        baseline_gradient_mb=None,
        gradient_ratio=None,
    )
    if baseline:
        (cost,) = measure(baseline, args, ceilings).values()
        costs['baseline'] = cost
        report.update(
            baseline_macs=total(cost),
            ratio=round(expected / total(cost), 4),
            baseline_gradient_mb=cost['gradient_mb'],
            gradient_ratio=round(reduced / cost['gradient_mb'], 4),
        )

    print(
        f'{"":10}{"prob":>6}{"forward":>10}{"backward":>10}{"total":>10}{"memory":>10}'
        f'{"gradients":>11}'
    )
    print(f'{"an image":16}' + f'{"GMACs":>10}' * 3 + f'{"MiB":>10}{"MiB":>11} in all')
    for name, cost in costs.items():
        print(
            f'{"exit " + name if name.isdigit() else name:10}'
            f'{cost["probability"]:6.2f}{cost["forward"] / 1e9:10.3f}'
            f'{cost["backward"] / 1e9:10.3f}{total(cost) / 1e9:10.3f}'
            f'{cost["activation_mb"]:10.1f}{cost["gradient_mb"]:11.1f}'
        )
    print(f'{"expected":36}{expected / 1e9:10.3f}{"":10}{reduced:11.1f}')
    if baseline:
        ratios = report['ratio'], report['gradient_ratio']
        print(f'{"ratio to the baseline":36}{ratios[0]:10.3f}{"":10}{ratios[1]:11.3f}')
    if ceilings is not None:
        report['floor'] = report_floor(costs, ceilings, args.batch_size)
    if args.json:
        with open(args.json, 'w') as file:
            json.dump(report, file, indent=2)


def report_floor(costs: dict[str, dict], ceilings: Ceilings, batch_size: int) -> dict:
    """Print and return the least time of each step, and in expectation."""
    floor = {name: cost['floor_ms'] for name, cost in costs.items()}
    moved = {name: cost['moved_mb'] for name, cost in costs.items()}
    baseline = floor.pop('baseline', None)
    expected = sum(costs[name]['probability'] * floor[name] for name in floor)
    print(
        f'\nleast time of a step of {batch_size} images at {ceilings.flops / 1e9:.0f} '
        f'GFLOP/s and {ceilings.bytes / 1e9:.1f} GB/s'
    )
    for name, milliseconds in [*floor.items(), ('expected', expected)]:
        title = f'exit {name}' if name.isdigit() else name
        print(f'{title:16}{milliseconds:10.0f} ms')
    report = dict(
        threads=torch.get_num_threads(),
        gflops=round(ceilings.flops / 1e9, 2),
        gb_per_second=round(ceilings.bytes / 1e9, 2),
        moved_mb=moved,
        floor_ms=dict(floor, expected=round(expected, 1)),
    )
    if baseline is not None:
        print(f'{"baseline":16}{baseline:10.0f} ms, ratio {expected / baseline:.3f}')
        report.update(baseline_ms=baseline, ratio=round(expected / baseline, 4))
    return report


if __name__ == '__main__':
    sys.exit(main())
