"""Kernels, bytes and waits of a step on a GPU, counted without one, recipe by recipe.

docs/performance.md has the table that this prints.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.append(str(Path(__file__).resolve().parents[1] / 'tools'))
import _checkout  # noqa: F401, arguments are read before mmaccel starts

from mmaccel.cli import start
from mmaccel.cli.command import Command, about, save, shared

EXAMPLES = """\
  python benchmarks/counts.py --json benchmarks/results/cuda-counts.json
"""
#: Recipes whose stages are counted as torch.compile fuses them, too.
COMPILED = (
    'configs/accel/mocov2_r50_8xb32.py',
    'configs/accel/simclr_r50_8xb32.py',
    'configs/accel/swav_r50_8xb32.py',
)
RECIPES = {
    'configs/accel/mocov1_r50_8xb32.py': 'MoCo v1, ResNet-50',
    'configs/accel/mocov2_r50_8xb32.py': 'MoCo v2, ResNet-50',
    'configs/accel/simclr_r50_8xb32.py': 'SimCLR, ResNet-50',
    'configs/accel/swav_r50_8xb32.py': 'SwAV 2×224, ResNet-50',
    'configs/accel/swav_r50_8xb32-mcrop-2-4-160-96.py': 'SwAV multi-crop, ResNet-50',
    'configs/small/accel-mocov2_r18_cifar10.py': 'MoCo v2, ResNet-18, 32 px',
    'configs/small/accel-simclr_r18_cifar10.py': 'SimCLR, ResNet-18, 32 px',
}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(**about(__doc__, EXAMPLES))
    shared(parser, '--batch-size', default=32)
    shared(parser, '--json', required=True, help='file for the figures')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Count, print and save; return the exit code."""
    args = parse_args(argv)
    start()
    return Command().run(lambda _: report(args))


def report(args: argparse.Namespace) -> None:
    """Count all recipes."""
    from mmaccel.analysis import Numerics
    from mmaccel.analysis.count_report import count_report
    from mmaccel.engine.config import load_config

    figures = {}
    for path in RECIPES:
        for numerics in (Numerics(), Numerics(compile_stages=True)):
            if numerics.compile_stages and path not in COMPILED:
                continue
            name = f'{path}{" --compile" if numerics.compile_stages else ""}'
            figures[name] = count_report(
                path, load_config(path), None, args.batch_size, None, numerics
            )
    print(table(figures))
    save(args.json, figures)


def table(figures: dict) -> str:
    """Markdown of what was counted."""
    lines = [
        '| | upstream: kernels, GiB, waits | ours, exits 1 to 4: kernels | GiB | waits '
        '| kernels, mean ratio | GiB, mean ratio |',
        '|---|---|---|---|---|---|---|',
    ]
    for figure in figures.values():
        steps = dict(figure['steps'])
        base = steps.pop('baseline')
        ours = [
            ', '.join(digits.format(row[key]) for row in steps.values())
            for key, digits in (('launches', '{}'), ('gib', '{:.1f}'), ('waits', '{}'))
        ]
        lines.append(
            f'| {RECIPES[figure["config"]]}'
            f'{", compiled" if figure["numerics"]["compile_stages"] else ""} '
            f'| {base["launches"]}, {base["gib"]:.1f}, {base["waits"]} '
            f'| {" | ".join(ours)} | {figure["ratio"]["launches"]:.2f} '
            f'| {figure["ratio"]["gib"]:.2f} |'
        )
    return '\n'.join(lines)


if __name__ == '__main__':
    sys.exit(main())
