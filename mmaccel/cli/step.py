"""Time a training step exit by exit, interleaved with the baseline's step.

Images are synthetic and lie on the device: what is timed is the step itself (data
preprocessor, loss, backward pass, optimizer), as training runs it, without loading.
Precision, layout and compilation are those of the config being timed; the baseline runs
as it is shipped and, with --baseline-like, also with the same precision and layout.
"""

from __future__ import annotations

import argparse

from .command import at_least, exit_title, load, save, shared

EXAMPLES = """\
  mmaccel step configs/accel/mocov2_r50_8xb32.py --device cpu --batch-size 8
  mmaccel step configs/accel/mocov2_r50_8xb32.py --device cuda --batch-size 256 \\
      --precision bf16 --layout channels_last --baseline-like --iters 50 \\
      --json step.json
  mmaccel step configs/accel/mocov2_r50_8xb32.py --device cpu --batch-size 8 --profile

  # kernels, bytes and waits of the host of a step on a GPU, counted without one
  mmaccel step configs/accel/mocov2_r50_8xb32.py --count
  mmaccel step configs/accel/mocov2_r50_8xb32.py --count --compile
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    shared(parser, 'config', '--baseline', '--device', '--size')
    shared(parser, '--batch-size', default=32)
    parser.add_argument(
        '--iters', type=at_least(1), default=10, help='rounds; default: 10'
    )
    parser.add_argument('--warmup', type=at_least(0), default=2, help='default: 2')
    precision = parser.add_mutually_exclusive_group()
    shared(precision, '--precision')
    precision.add_argument(
        '--amp',
        action='store_true',
        help='short for --precision fp16 on CUDA, bf16 elsewhere',
    )
    shared(parser, '--layout')
    parser.add_argument(
        '--compile', action='store_true', help='torch.compile of the stages'
    )
    inside = parser.add_mutually_exclusive_group()
    inside.add_argument(
        '--profile',
        action='store_true',
        help='also print the most expensive parts of a step, and of its operators; '
        'compiled stages have none',
    )
    inside.add_argument(
        '--count',
        action='store_true',
        help='time nothing: count the kernels that a step launches on a GPU, the bytes '
        'that they move and where the host waits, on tensors without data; needs none. '
        'With --compile torch says what it would launch; takes minutes',
    )
    parser.add_argument(
        '--baseline-like',
        action='store_true',
        help='also time the baseline with the same precision and layout',
    )
    shared(parser, '--threads', '--json', '--cfg-options')


def run(args: argparse.Namespace) -> None:
    """Time, or count, print and save."""
    if args.count:
        _count(args)
        return
    import torch

    from mmaccel.analysis import Numerics
    from mmaccel.analysis.step_report import step_report
    from mmaccel.hardware import choose_device

    device = choose_device(args.device)
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.amp:
        args.precision = 'fp16' if device.startswith('cuda') else 'bf16'
    report = step_report(
        args.config,
        load(args),
        Numerics(args.precision, args.layout, args.compile),
        args.baseline,
        args.baseline_like,
        device,
        args.batch_size,
        args.size,
        args.iters,
        args.warmup,
        args.profile,
    )
    _print_times(report)
    if args.profile:
        _print_profile(report['profile'], report['profile'].pop('operators'))
    save(args.json, report)


def _count(args: argparse.Namespace) -> None:
    from mmaccel.analysis import Numerics
    from mmaccel.analysis.count_report import count_report

    if args.amp:
        args.precision = 'fp16'
    report = count_report(
        args.config,
        load(args),
        args.baseline,
        args.batch_size,
        args.size,
        Numerics(args.precision, args.layout, args.compile),
    )
    print(
        f'on CUDA, counted without it; torch {report["torch"]}, '
        f'batch {report["batch_size"]}'
        f'{", compiled stages" if report["numerics"]["compile_stages"] else ""}'
    )
    print(f'{"":16}{"kernels":>10}{"GiB":>10}{"waits":>10}{"of ours":>10}')
    for name, row in report['steps'].items():
        print(
            f'{exit_title(name):16}{row["launches"]:10}{row["gib"]:10.2f}'
            f'{row["waits"]:10}{row["our_waits"]:10}'
        )
    for title in ('expected', 'ratio'):
        if report[title]:
            kernels, gib = report[title].values()
            digits = 1 if title == 'expected' else 3
            print(f'{title:16}{kernels:10.{digits}f}{gib:10.{digits}f}')
    last = next(name for name in reversed(report['steps']) if name != 'baseline')
    print(f'\n{exit_title(last)}: what moves most, GiB')
    for name, gib in report['steps'][last]['movers'].items():
        print(f'  {name:52}{gib:8.2f}')
    print('\nwhere the host waits')
    places = {
        p: n for row in report['steps'].values() for p, n in row['waits_at'].items()
    }
    for place, number in places.items():
        print(f'  {place:60}{number:4}')
    save(args.json, report)


def _print_times(report: dict) -> None:
    """Print a row per variant, the expectation and its ratios to the baselines."""
    print(f'{report["device"]}, torch {report["torch"]}, batch {report["batch_size"]}')
    print(
        f'{"":16}{"precision":>10}{"layout":>15}{"compile":>9}'
        f'{"median":>9}{"min":>9}{"max":>9}{"peak MiB":>10}   ms, n={report["n"]}'
    )
    for name, numerics in report['numerics'].items():
        times = report['step_ms'].get(name) or report[f'{name}_step_ms']
        peak = (report['peak_memory_mb'] or {}).get(name)
        print(
            f'{exit_title(name):16}{numerics["precision"]:>10}{numerics["layout"]:>15}'
            f'{"yes" if numerics["compile_stages"] else "no":>9}'
            + _figures(times, 1)
            + (f'{peak:10.1f}' if peak is not None else '')
        )
    print(f'{"expected":50}' + _figures(report['step_ms']['expected'], 1))
    for title, key in (('ratio', 'ratio'), ('ratio, alike', 'ratio_like')):
        if report[key] is not None:
            print(f'{title:50}' + _figures(report[key], 3))


def _print_profile(profile: dict, operators: dict) -> None:
    for name, whole in profile['whole_ms'].items():
        print(f'\n{exit_title(name)}: the most expensive parts of {whole:.1f} ms')
        for row in profile[name]:
            print(f'  {row["part"]:40}{row["ms"]:10.1f} ms{row["share"]:8.1%}')
    for title, table in operators.items():
        print(f'\noperators of {title}\n{table}')


def _figures(times: dict, digits: int) -> str:
    return ''.join(f'{value:9.{digits}f}' for value in times.values())
