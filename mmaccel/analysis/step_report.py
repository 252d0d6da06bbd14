"""The steps of a config and of its baseline, timed in turn."""

import platform

import mmengine
import torch
from mmengine.config import Config

from mmaccel.engine.config import load_config
from mmaccel.errors import ConfigError
from mmaccel.hardware import process_peak_mb

from . import profile as profiling
from .device import device_name
from .measure import MedianRange, Timed, ratios, time_steps
from .memory import peak_memory_mb
from .numerics import Numerics
from .step import StepRunner

BASELINE, LIKE = 'baseline', 'baseline_like'


def step_report(
    path: str,
    cfg: Config,
    numerics: Numerics,
    baseline: str | None = None,
    baseline_like: bool = False,
    device: str = 'cpu',
    batch_size: int = 32,
    size: int | None = None,
    iters: int = 10,
    warmup: int = 2,
    profile: bool = False,
) -> dict:
    """Time a config's steps and its baseline's: what ``mmaccel step`` prints.

    Args:
        path (str): The config's name in the report.
        cfg (Config): A pretraining config.
        numerics (Numerics): Precision, layout and compilation of its step.
        baseline (str, optional): Config to compare with. Defaults to the one that
            ``cfg`` names. It runs as it is shipped.
        baseline_like (bool): Whether to time it with the same numerics, too.
        device (str): Torch device. Defaults to ``'cpu'``.
        batch_size (int): Images per step. Defaults to 32.
        size (int, optional): Side of the views. Defaults to the pipeline's.
        iters (int): Timed rounds. Defaults to 10.
        warmup (int): Rounds before, not timed. Defaults to 2.
        profile (bool): Whether to time the parts of the steps as well.

    Raises:
        ConfigError: If the steps cannot be compared or profiled.
    """

    def build(cfg: Config, numerics: Numerics | None = None) -> StepRunner:
        return StepRunner(cfg, batch_size, size, device, numerics)

    runner = build(cfg, numerics)
    if profile and runner.numerics.compile_stages:
        raise ConfigError(
            'compiled stages cannot be profiled; leave out --compile, or add '
            '--cfg-options model.compile_stages=False'
        )
    baseline = baseline or cfg.get('baseline')
    if baseline_like and not baseline:
        raise ConfigError(
            f'{path} names no baseline to be timed alike; give --baseline CONFIG'
        )
    probs = {name: variant.probability for name, variant in runner.variants.items()}
    variants = [Timed(name, runner, v.plan) for name, v in runner.variants.items()]
    if baseline:
        base_cfg = load_config(baseline)
        if baseline_like:
            alike = runner.numerics._replace(compile_stages=False)
            variants.insert(0, Timed(LIKE, build(base_cfg, alike)))
        variants.insert(0, Timed(BASELINE, build(base_cfg)))

    times = time_steps(variants, iters, warmup)
    expected = [
        sum(p * times[name][i] for name, p in probs.items()) for i in range(iters)
    ]
    memory = {v.name: peak_memory_mb(v.runner, v.plan) for v in variants}
    report = dict(
        device=device_name(device),
        torch=torch.__version__,
        mmengine=mmengine.__version__,
        python=platform.python_version(),
        config=path,
        baseline=baseline,
        batch_size=batch_size,
        views=[list(image.shape[1:]) for image in runner.images],
        amp=runner.numerics.precision != 'fp32',
        numerics={v.name: v.runner.numerics._asdict() for v in variants},
        n=iters,
        exit_probs=probs,
        step_ms={
            **{name: MedianRange(times[name]) for name in probs},
            'expected': MedianRange(expected),
        },
    )
    for name, key in ((BASELINE, 'ratio'), (LIKE, 'ratio_like')):
        there = name in times
        report[f'{name}_step_ms'] = MedianRange(times[name]) if there else None
        report[key] = ratios(expected, times[name]) if there else None
    report['peak_memory_mb'] = memory if any(memory.values()) else None
    report['process_peak_mb'] = process_peak_mb()
    if profile:
        report['profile'] = _profile(variants, probs, iters)
    return report


def _profile(variants: list[Timed], probs: dict[str, float], steps: int) -> dict:
    """Most expensive parts in expectation and of each baseline, and torch's tables.

    ``parts_ms`` has all parts of each variant, medians; ``operators`` a table of the
    exits' steps, and one of the baseline's.
    """
    parts = {
        v.name: profiling.typical(profiling.profile_step(v.runner, v.plan, steps))
        for v in variants
    }
    steps_ms = {
        'expected': profiling.expected(parts, probs),
        **{name: parts[name] for name in (BASELINE, LIKE) if name in parts},
    }
    report: dict = {name: profiling.dearest(step) for name, step in steps_ms.items()}
    report['whole_ms'] = {
        name: round(sum(step.values()), 3) for name, step in steps_ms.items()
    }
    report['parts_ms'] = {
        name: {part: round(ms, 3) for part, ms in step.items()}
        for name, step in parts.items()
    }
    ours = [v for v in variants if v.name in probs]
    groups = {'one step per exit': ours}
    if variants[0].name == BASELINE:
        groups['one step of the baseline'] = variants[:1]
    report['operators'] = {
        title: profiling.operators(chosen[0].runner, [v.plan for v in chosen])
        for title, chosen in groups.items()
    }
    return report
