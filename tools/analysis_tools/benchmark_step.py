"""Time a training step exit by exit, interleaved with the baseline's step.

Images are synthetic and lie on the device: what is timed is the step itself (data
preprocessor, loss, backward pass, optimizer), as training runs it, without loading.
Precision, layout and compilation are those of the config being timed; the baseline runs
as it is shipped and, with --baseline-like, also with the same precision and layout.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from pathlib import Path

import mmengine

try:
    import mmaccel  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != 'mmaccel':
        raise
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a plain checkout

import torch
from mmaccel.engine.cli import Command
from mmengine.config import DictAction

from mmaccel.analysis import Numerics, Spread, StepRunner
from mmaccel.analysis import profile as profiling
from mmaccel.analysis.device import device_name
from mmaccel.analysis.measure import (
    Timed,
    peak_memory_mb,
    process_peak_mb,
    ratios,
    time_steps,
)
from mmaccel.analysis.numerics import LAYOUTS, PRECISIONS
from mmaccel.engine.config import load_config
from mmaccel.errors import ConfigError
from mmaccel.fileio import write_atomically

EXAMPLES = """examples:
  python tools/analysis_tools/benchmark_step.py configs/accel/mocov2_r50_8xb32.py \\
      --device cpu --batch-size 8
  python tools/analysis_tools/benchmark_step.py configs/accel/mocov2_r50_8xb32.py \\
      --device cuda --batch-size 256 --precision bf16 --layout channels_last \\
      --baseline-like --iters 50 --json step.json
  python tools/analysis_tools/benchmark_step.py configs/accel/mocov2_r50_8xb32.py \\
      --device cpu --batch-size 8 --profile
"""

BASELINE, LIKE = 'baseline', 'baseline_like'


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
    parser.add_argument(
        '--device',
        default='cuda' if torch.cuda.is_available() else 'cpu',
        help='torch device; default: cuda if there is one',
    )
    parser.add_argument('--batch-size', type=int, default=32, help='default: 32')
    parser.add_argument('--size', type=int, help='side of the views in pixels')
    parser.add_argument('--iters', type=int, default=10, help='rounds; default: 10')
    parser.add_argument('--warmup', type=int, default=2, help='default: 2')
    parser.add_argument(
        '--precision',
        choices=PRECISIONS,
        help='autocast in bf16, or in fp16 with loss scaling on CUDA; default: the '
        "config's",
    )
    parser.add_argument(
        '--amp',
        action='store_true',
        help='short for --precision fp16 on CUDA, bf16 elsewhere',
    )
    parser.add_argument(
        '--layout',
        choices=LAYOUTS,
        default='config',
        help="memory layout of weights and maps; default: the config's",
    )
    parser.add_argument(
        '--compile', action='store_true', help='torch.compile of the stages'
    )
    parser.add_argument(
        '--baseline-like',
        action='store_true',
        help='also time the baseline with the same precision and layout',
    )
    parser.add_argument(
        '--profile',
        action='store_true',
        help='also name the most expensive parts of a step, and of its operators',
    )
    parser.add_argument('--threads', type=int, help='CPU threads')
    parser.add_argument('--json', metavar='F', help='also write the figures to F')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, help='override settings'
    )
    args = parser.parse_args(argv)
    if args.device.startswith('cuda') and not torch.cuda.is_available():
        parser.error('no CUDA device here; use --device cpu')
    if args.iters < 1 or args.batch_size < 2:
        parser.error('--iters must be at least 1 and --batch-size at least 2')
    if args.amp and args.precision:
        parser.error('--amp and --precision say the same; use --precision')
    if args.profile and args.compile:
        parser.error('--profile looks into stages that --compile closes; use one')
    if args.amp:
        args.precision = 'fp16' if args.device.startswith('cuda') else 'bf16'
    return args


def main(argv: list[str] | None = None) -> int:
    """Time, print and save; return the exit code."""
    args = parse_args(argv)
    return Command().run(lambda _: report_times(args))


def report_times(args: argparse.Namespace) -> None:
    """Time, print and save."""
    if args.threads:
        torch.set_num_threads(args.threads)
    where = dict(batch_size=args.batch_size, size=args.size, device=args.device)
    cfg = load_config(args.config, args.cfg_options)
    chosen = Numerics(args.precision, args.layout, args.compile)
    runner = StepRunner(cfg, **where, numerics=chosen)
    if args.profile and runner.numerics.compile_stages:
        raise ConfigError(
            'the stages are compiled and cannot be looked into; profile with '
            '--cfg-options model.compile_stages=False'
        )
    baseline = args.baseline or cfg.get('baseline')
    if args.baseline_like and not baseline:
        raise ConfigError(
            f'{args.config} names no baseline to be timed alike; give --baseline CONFIG'
        )
    probs = {name: variant.probability for name, variant in runner.variants.items()}
    variants = [Timed(name, runner, v.plan) for name, v in runner.variants.items()]
    if baseline:
        base_cfg = load_config(baseline)
        if args.baseline_like:
            alike = runner.numerics._replace(compile_stages=False)
            base = StepRunner(base_cfg, **where, numerics=alike)
            variants.insert(0, Timed(LIKE, base, None))
        variants.insert(0, Timed(BASELINE, StepRunner(base_cfg, **where), None))

    times = time_steps(variants, args.iters, args.warmup)
    expected = [
        sum(p * times[name][i] for name, p in probs.items()) for i in range(args.iters)
    ]
    memory = {v.name: peak_memory_mb(v.runner, v.plan) for v in variants}
    report = dict(
        device=device_name(args.device),
        torch=torch.__version__,
        mmengine=mmengine.__version__,
        python=platform.python_version(),
        config=args.config,
        baseline=baseline,
        batch_size=args.batch_size,
        views=[list(image.shape[1:]) for image in runner.images],
        amp=runner.numerics.precision != 'fp32',
        numerics={v.name: v.runner.numerics._asdict() for v in variants},
        n=args.iters,
        exit_probs=probs,
        step_ms={
            **{name: Spread(times[name]) for name in probs},
            'expected': Spread(expected),
        },
        baseline_step_ms=None,
        ratio=None,
        baseline_like_step_ms=None,
        ratio_like=None,
        peak_memory_mb=memory if any(memory.values()) else None,
        process_peak_mb=process_peak_mb(),
    )
    if BASELINE in times:
        report['baseline_step_ms'] = Spread(times[BASELINE])
        report['ratio'] = ratios(expected, times[BASELINE])
    if LIKE in times:
        report['baseline_like_step_ms'] = Spread(times[LIKE])
        report['ratio_like'] = ratios(expected, times[LIKE])

    print(f'{report["device"]}, torch {torch.__version__}, batch {args.batch_size}')
    print_table(variants, report, times)
    if args.profile:
        report['profile'] = report_profile(variants, probs, args.iters)
    if args.json:
        write_atomically(args.json, json.dumps(report, indent=2).encode())


def print_table(
    variants: list[Timed], report: dict, times: dict[str, list[float]]
) -> None:
    """Print a row a variant, the expectation and its ratios to the baselines."""
    print(
        f'{"":16}{"precision":>10}{"layout":>15}{"compile":>9}'
        f'{"median":>9}{"min":>9}{"max":>9}{"peak MiB":>10}   '
        f'ms, n={report["n"]}'
    )
    for v in variants:
        numerics = v.runner.numerics
        peak = (report['peak_memory_mb'] or {}).get(v.name)
        print(
            f'{_title(v.name):16}{numerics.precision:>10}{numerics.layout:>15}'
            f'{"yes" if numerics.compile_stages else "no":>9}'
            + _figures(Spread(times[v.name]), 1)
            + (f'{peak:10.1f}' if peak is not None else f'{"":>10}')
        )
    rows = {
        'expected': (report['step_ms']['expected'], 1),
        'ratio': (report['ratio'], 3),
        'ratio, alike': (report['ratio_like'], 3),
    }
    for title, (spread, digits) in rows.items():
        if spread is not None:
            print(f'{title:50}' + _figures(spread, digits))


def report_profile(
    variants: list[Timed], probs: dict[str, float], steps: int, warmup: int = 1
) -> dict:
    """Time the parts of the steps, print the dearest, and torch's own table.

    Returns:
        dict: ``expected`` and each baseline: their five dearest parts; ``parts_ms``:
        all of them, a variant each, medians.
    """
    parts = {
        v.name: profiling.typical(
            profiling.profile_step(v.runner, v.plan, steps, warmup)
        )
        for v in variants
    }
    steps_ms = {
        'expected': profiling.expected(parts, probs),
        **{name: parts[name] for name in (BASELINE, LIKE) if name in parts},
    }
    report: dict = {name: profiling.dearest(step) for name, step in steps_ms.items()}
    for name, rows in report.items():
        whole = sum(steps_ms[name].values())
        print(f'\n{_title(name)}: the dearest parts of {whole:.1f} ms')
        for row in rows:
            print(f'  {row["part"]:40}{row["ms"]:10.1f} ms{row["share"]:8.1%}')
    report['parts_ms'] = {
        name: {part: round(ms, 3) for part, ms in step.items()}
        for name, step in parts.items()
    }
    for title, chosen in (
        ('operators of one step an exit', [v for v in variants if v.name in probs]),
        ('operators of one step of the baseline', variants[:1]),
    ):
        if title.endswith('baseline') and variants[0].name != BASELINE:
            continue
        print(f'\n{title}')
        print(profiling.operators(chosen[0].runner, [v.plan for v in chosen]))
    return report


def _figures(spread: dict, digits: int) -> str:
    return ''.join(f'{value:9.{digits}f}' for value in spread.values())


def _title(name: str) -> str:
    if name == LIKE:
        return 'baseline, alike'
    return f'exit {name}' if name.isdigit() else name


if __name__ == '__main__':
    sys.exit(main())
