"""Time a training step exit by exit, interleaved with the baseline's step.

Images are synthetic and lie on the device: what is timed is the step itself (data
preprocessor, loss, backward pass, optimizer), as training runs it, without loading.
"""

from __future__ import annotations

import argparse
import json
import os
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
from mmengine.config import DictAction

from mmaccel.analysis import Spread, StepRunner
from mmaccel.analysis.measure import peak_memory_mb, process_peak_mb, time_steps
from mmaccel.engine.cli import Command
from mmaccel.engine.config import load_config

EXAMPLES = """examples:
  python tools/analysis_tools/benchmark_step.py configs/accel/mocov2_r50_8xb32.py \\
      --device cpu --batch-size 8
  python tools/analysis_tools/benchmark_step.py configs/accel/mocov2_r50_8xb32.py \\
      --device cuda --batch-size 256 --amp --iters 50 --json step.json
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
    parser.add_argument(
        '--device',
        default='cuda' if torch.cuda.is_available() else 'cpu',
        help='torch device; default: cuda if there is one',
    )
    parser.add_argument('--batch-size', type=int, default=32, help='default: 32')
    parser.add_argument('--size', type=int, help='side of the views in pixels')
    parser.add_argument('--iters', type=int, default=10, help='rounds; default: 10')
    parser.add_argument('--warmup', type=int, default=2, help='default: 2')
    parser.add_argument('--amp', action='store_true', help='mixed precision')
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
    return args


def device_name(device: str) -> str:
    """Name of the processor the figures belong to."""
    if device.startswith('cuda'):
        return torch.cuda.get_device_name(device)
    model = platform.processor() or platform.machine()
    if os.path.exists('/proc/cpuinfo'):
        with open('/proc/cpuinfo') as file:
            names = [line.split(':')[1] for line in file if 'model name' in line]
        model = names[0].strip() if names else model
    return f'CPU {model}, {torch.get_num_threads()} threads'


def main(argv: list[str] | None = None) -> int:
    """Time, print and save; return the exit code."""
    args = parse_args(argv)
    return Command().run(lambda _: report_times(args))


def report_times(args: argparse.Namespace) -> None:
    """Time, print and save."""
    if args.threads:
        torch.set_num_threads(args.threads)
    options = dict(
        batch_size=args.batch_size, size=args.size, device=args.device, amp=args.amp
    )
    cfg = load_config(args.config, args.cfg_options)
    runner = StepRunner(cfg, **options)
    baseline = args.baseline or cfg.get('baseline')
    probs = {name: variant.probability for name, variant in runner.variants.items()}
    variants = [(name, runner, v.plan) for name, v in runner.variants.items()]
    if baseline:
        base = StepRunner(load_config(baseline), **options)
        variants.insert(0, ('baseline', base, None))

    times = time_steps(variants, args.iters, args.warmup)
    expected = [
        sum(p * times[name][i] for name, p in probs.items()) for i in range(args.iters)
    ]
    memory = {name: peak_memory_mb(r, plan) for name, r, plan in variants}
    report = dict(
        device=device_name(args.device),
        torch=torch.__version__,
        mmengine=mmengine.__version__,
        python=platform.python_version(),
        config=args.config,
        baseline=baseline,
        batch_size=args.batch_size,
        views=[list(image.shape[1:]) for image in runner.images],
        amp=args.amp,
        n=args.iters,
        exit_probs=probs,
        step_ms={
            **{name: Spread(times[name]) for name in probs},
            'expected': Spread(expected),
        },
        baseline_step_ms=None,
        ratio=None,
        peak_memory_mb=memory if any(memory.values()) else None,
        process_peak_mb=process_peak_mb(),
    )
    if baseline:
        report['baseline_step_ms'] = Spread(times['baseline'])
        report['ratio'] = Spread([a / b for a, b in zip(expected, times['baseline'])])

    print(f'{report["device"]}, torch {torch.__version__}, batch {args.batch_size}')
    print(f'{"":12}{"median":>10}{"min":>10}{"max":>10}   ms, n={args.iters}')
    rows = {_title(name): report['step_ms'][name] for name in probs}
    rows['expected'] = report['step_ms']['expected']
    if baseline:
        rows['baseline'] = report['baseline_step_ms']
        rows['ratio'] = report['ratio']
    for name, spread in rows.items():
        digits = 3 if name == 'ratio' else 1
        print(f'{name:12}' + ''.join(f'{v:10.{digits}f}' for v in spread.values()))
    for name, peak in (report['peak_memory_mb'] or {}).items():
        print(
            f'peak memory {name if name == "baseline" else "exit " + name}: {peak} MiB'
        )
    if args.json:
        with open(args.json, 'w') as file:
            json.dump(report, file, indent=2)


def _title(name: str) -> str:
    return f'exit {name}' if name.isdigit() else name


if __name__ == '__main__':
    sys.exit(main())
