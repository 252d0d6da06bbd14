"""The least time that a step takes at this CPU's ceilings: its roofline.

Every operation of the step reads its arguments and writes its results once, and
computes at most as fast as the CPU can; backward pass and optimizer are included. No
operation starts before the last has ended: a step can be faster only by fusing
operations, slower in every other way.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.append(str(Path(__file__).resolve().parents[1] / 'tools'))
import _checkout  # noqa: F401, arguments are read before mmaccel starts

from mmaccel.cli import start
from mmaccel.cli.command import Command, about, exit_title, load, save, shared

EXAMPLES = """\
  python benchmarks/roofline.py configs/accel/mocov2_r50_8xb32.py --batch-size 8
"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(**about(__doc__, EXAMPLES))
    shared(parser, 'config', '--baseline', '--size')
    shared(parser, '--batch-size', default=8)
    shared(parser, '--threads', '--json', '--cfg-options')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Measure, print and save; return the exit code."""
    args = parse_args(argv)
    start()
    return Command().run(lambda _: report(args))


def report(args: argparse.Namespace) -> None:
    """Measure, print and save."""
    import torch

    from benchmarks.ceilings import measure_ceilings, roofline_of_step
    from mmaccel.analysis import StepRunner
    from mmaccel.analysis.device import device_name
    from mmaccel.engine.config import load_config

    if args.threads:
        torch.set_num_threads(args.threads)
    ceilings = measure_ceilings()
    cfg = load(args)
    runner = StepRunner(cfg, args.batch_size, args.size)
    probs = {name: variant.probability for name, variant in runner.variants.items()}
    steps = {
        name: roofline_of_step(runner, ceilings, variant.plan)
        for name, variant in runner.variants.items()
    }
    ours = sum(p * steps[name].seconds for name, p in probs.items())
    baseline = args.baseline or cfg.get('baseline')
    if baseline:
        other = StepRunner(load_config(baseline), args.batch_size, args.size)
        steps['baseline'] = roofline_of_step(other, ceilings)
    figures = dict(
        device=device_name('cpu'),
        torch=torch.__version__,
        config=args.config,
        baseline=baseline,
        batch_size=args.batch_size,
        n=1,
        exit_probs=probs,
        gflops=round(ceilings.flops / 1e9, 2),
        gb_per_second=round(ceilings.bytes / 1e9, 2),
        moved_mb={name: round(x.bytes / 2**20, 1) for name, x in steps.items()},
        roofline_ms={
            **{name: round(1000 * x.seconds, 1) for name, x in steps.items()},
            'expected': round(1000 * ours, 1),
        },
        ratio=round(ours / steps['baseline'].seconds, 4) if baseline else None,
    )
    print(
        f'roofline of a step of {args.batch_size} images at {figures["gflops"]:.0f} '
        f'GFLOP/s and {figures["gb_per_second"]:.1f} GB/s'
    )
    for name, milliseconds in figures['roofline_ms'].items():
        print(f'{exit_title(name):16}{milliseconds:10.0f} ms')
    if baseline:
        print(f'{"ratio":16}{figures["ratio"]:10.3f}')
    save(args.json, figures)


if __name__ == '__main__':
    sys.exit(main())
